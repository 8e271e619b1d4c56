/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes that are made with what is kept, against those that OpenSSL makes from nothing.
 */
#include "crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_BYTES = 300 };

static const enum crypto_hash hashes[] = {CRYPTO_SHA1, CRYPTO_SHA256, CRYPTO_SHA384, CRYPTO_SHA512};

static void fill(unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)(i * 7 + 1);
}

static void test_kept_hasher_makes_the_same_digests(void **state)
{
    unsigned char data[MOST_BYTES], expected[CRYPTO_HASH_BYTES_MOST], made[CRYPTO_HASH_BYTES_MOST];

    (void)state;
    fill(data, sizeof(data));
    for (size_t h = 0; h < ARRAY_LEN(hashes); h++) {
        struct crypto_hasher *hasher = crypto_hasher_create(hashes[h]);

        for (size_t len = 0; len <= MOST_BYTES; len++) {
            size_t n = crypto_digest(hashes[h], data, len, expected);

            assert_int_equal(crypto_hasher_digest(hasher, data, len, made), n);
            assert_memory_equal(made, expected, n);
        }
        crypto_hasher_free(hasher);
    }
    crypto_hasher_free(NULL);
}

/* Keys of no bytes, of a block, and of more than that. */
static void test_kept_hasher_makes_the_same_codes(void **state)
{
    static const size_t lens[] = {0, 1, 55, 64, 100, 128, MOST_BYTES};
    unsigned char data[MOST_BYTES], expected[CRYPTO_HASH_BYTES_MOST], made[CRYPTO_HASH_BYTES_MOST];

    (void)state;
    fill(data, sizeof(data));
    for (size_t h = 0; h < ARRAY_LEN(hashes); h++) {
        struct crypto_hasher *hasher = crypto_hasher_create(hashes[h]);

        for (size_t key_len = 0; key_len <= MOST_BYTES; key_len++) {
            for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
                size_t n = crypto_hmac_bytes(hashes[h], data, key_len, data, lens[i], expected);

                assert_int_equal(crypto_hasher_hmac(hasher, data, key_len, data, lens[i], made), n);
                assert_memory_equal(made, expected, n);
            }
        }
        crypto_hasher_free(hasher);
    }
}

/* RFC 4231, test case 2. */
static void test_code_of_the_rfc(void **state)
{
    static const unsigned char expected[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e,
                                             0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
                                             0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83,
                                             0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    static const char data[] = "what do ya want for nothing?";
    struct crypto_hasher *hasher = crypto_hasher_create(CRYPTO_SHA256);
    unsigned char made[CRYPTO_HASH_BYTES_MOST];

    (void)state;
    assert_int_equal(crypto_hasher_hmac(hasher, "Jefe", 4, data, sizeof(data) - 1, made),
                     sizeof(expected));
    assert_memory_equal(made, expected, sizeof(expected));
    crypto_hasher_free(hasher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_hasher_makes_the_same_digests),
        cmocka_unit_test(test_kept_hasher_makes_the_same_codes),
        cmocka_unit_test(test_code_of_the_rfc),
    };

    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}

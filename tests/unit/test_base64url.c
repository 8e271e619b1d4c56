/* SPDX-License-Identifier: Apache-2.0 */
#include "base64url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sample {
    const char *bytes;
    const char *base64;
    const char *base64url;
};

/* The first ones are those of RFC 4648, section 10. */
static const struct sample samples[] = {
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xFB\xEF\xFF", "++//", "--__"},
};

typedef unsigned char *decode_fn(const char *text, size_t len, size_t *out_len);

static void expect_bytes(decode_fn *decode, const char *text, const char *expected)
{
    size_t len = 0;
    unsigned char *decoded = decode(text, strlen(text), &len);

    assert_non_null(decoded);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(decoded, expected, len);
    free(decoded);
}

static void test_samples_go_both_ways(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 64);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *sample = &samples[i];

        buf_clear(&out);
        base64_add(&out, sample->bytes, strlen(sample->bytes));
        assert_string_equal(buf_str(&out), sample->base64);
        expect_bytes(base64_decode, sample->base64, sample->bytes);
        buf_clear(&out);
        base64url_add(&out, sample->bytes, strlen(sample->bytes));
        assert_string_equal(buf_str(&out), sample->base64url);
        expect_bytes(base64url_decode, sample->base64url, sample->bytes);
    }
    buf_done(&out);
}

static void test_padding_may_be_left_out(void **state)
{
    (void)state;
    expect_bytes(base64_decode, "Zg", "f");
    expect_bytes(base64_decode, "Zm8", "fo");
}

static void test_what_no_encoder_makes_is_refused(void **state)
{
    static const char *const texts[] = {"Z",    "Zg=",   "Zg===",  "=",       "==",
                                        "====", "Zm9v=", "Zg==Zg", "Zm9v Zg", "Zm\n8",
                                        "Zm8-", "Z=8v",  "Zh==",   "Zm9="};
    size_t len = 77;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_null(base64_decode(texts[i], strlen(texts[i]), &len));
    assert_null(base64url_decode("Zg==", 4, &len));
    assert_null(base64url_decode("+/", 2, &len));
    assert_null(base64url_decode("Zh", 2, &len));
    assert_int_equal(len, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_go_both_ways),
        cmocka_unit_test(test_padding_may_be_left_out),
        cmocka_unit_test(test_what_no_encoder_makes_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

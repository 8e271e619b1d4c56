/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key sets come from a URL.  Whatever is in one: every key that is taken can be asked about a
 * signature, says no to one that nobody made, and is found under its kind.
 */
#include <assert.h>
#include <string.h>

#include "crypto.h"
#include "jwks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t try_keys(const struct jwks *jwks, const char *kid, enum crypto_kind kind)
{
    static const unsigned char signature[64] = {1};
    const struct crypto_key *key;
    size_t count = 0;
    size_t at = 0;

    while ((key = jwks_next(jwks, kid, kind, &at))) {
        count++;
        assert(crypto_key_kind(key) == kind);
        assert(!crypto_key_verify(key, "text", 4, signature, sizeof(signature)));
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jwks *jwks = NULL;

    if (jwks_parse((const char *)data, size, &jwks, NULL) == OK) {
        size_t count = jwks_count(jwks);

        assert(count > 0 && count <= JWKS_MAX_KEYS);
        assert(try_keys(jwks, NULL, CRYPTO_RSA) + try_keys(jwks, NULL, CRYPTO_P256) == count);
        assert(try_keys(jwks, "a", CRYPTO_RSA) + try_keys(jwks, "a", CRYPTO_P256) <= count);
    } else {
        assert(!jwks);
    }
    jwks_free(jwks);
    return 0;
}

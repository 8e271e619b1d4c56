/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens.h - tokens for tests, signed here with OpenSSL and not by what checks them.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "base64url.h"
#include "buf.h"

enum { TOKEN_BYTES = 8192 };

/* The header and the claims, and the dot between them. */
static inline void begin_token(struct buf *out, const char *header, const char *claims)
{
    buf_init(out, TOKEN_BYTES);
    base64url_add(out, header, strlen(header));
    buf_addc(out, '.');
    base64url_add(out, claims, strlen(claims));
}

static inline char *end_token(struct buf *out, const void *signature, size_t len)
{
    buf_addc(out, '.');
    base64url_add(out, signature, len);
    assert_false(buf_full(out));
    return buf_take(out);
}

static inline char *hmac_token_with(const char *header, const EVP_MD *md, const char *key,
                                    const char *claims)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    struct buf out;

    begin_token(&out, header, claims);
    assert_non_null(
        HMAC(md, key, (int)strlen(key), (const unsigned char *)out.data, out.len, mac, &len));
    return end_token(&out, mac, len);
}

static inline char *hmac_token(const char *alg, const char *key, const char *claims)
{
    const EVP_MD *md = strcmp(alg, "HS512") == 0   ? EVP_sha512()
                       : strcmp(alg, "HS384") == 0 ? EVP_sha384()
                                                   : EVP_sha256();
    char header[64];

    snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg);
    return hmac_token_with(header, md, key, claims);
}

/* JWS wants r and s side by side (RFC 7518, section 3.4), OpenSSL gives them as DER. */
static inline size_t raw_ecdsa(const unsigned char *der, size_t len, unsigned char raw[64])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

    assert_non_null(sig);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
    ECDSA_SIG_free(sig);
    return 64;
}

static inline char *key_token_with(const char *header, EVP_PKEY *key, const char *claims)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[1024];
    unsigned char raw[64];
    size_t len = sizeof(sig);
    struct buf out;

    begin_token(&out, header, claims);
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)out.data, out.len), 1);
    EVP_MD_CTX_free(ctx);
    if (!EVP_PKEY_is_a(key, "EC"))
        return end_token(&out, sig, len);
    len = raw_ecdsa(sig, len, raw);
    return end_token(&out, raw, len);
}

static inline char *key_token(const char *alg, EVP_PKEY *key, const char *claims)
{
    char header[64];

    snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg);
    return key_token_with(header, key, claims);
}

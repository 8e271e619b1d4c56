/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

enum {
    RSA_BITS_LEAST = 2048,
    RSA_BITS_MOST = 8192, /* checking takes the square of it, and a peer can ask for it */
    P256_BYTES = 32,
    DER_BYTES_MOST = 80,
    BLOCK_BYTES_MOST = 128, /* of SHA-384 and SHA-512 */
    INNER_PAD = 0x36,
    OUTER_PAD = 0x5c
};

struct crypto_key {
    EVP_PKEY *pkey;
    enum crypto_kind kind;
};

static const EVP_MD *find_md(enum crypto_hash hash)
{
    return hash == CRYPTO_SHA512   ? EVP_sha512()
           : hash == CRYPTO_SHA384 ? EVP_sha384()
           : hash == CRYPTO_SHA256 ? EVP_sha256()
                                   : EVP_sha1();
}

size_t crypto_hmac_bytes(enum crypto_hash hash, const void *key, size_t key_len, const void *data,
                         size_t len, unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    unsigned int written = 0;
    const unsigned char *made = HMAC(find_md(hash), key, (int)key_len, data, len, out, &written);

    assert(made); /* it fails for lack of memory only */
    (void)made;
    return written;
}

size_t crypto_hmac(enum crypto_hash hash, const char *key, const void *data, size_t len,
                   unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    return crypto_hmac_bytes(hash, key, strlen(key), data, len, out);
}

size_t crypto_digest(enum crypto_hash hash, const void *data, size_t len,
                     unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    unsigned int written = 0;
    int is_made = EVP_Digest(data, len, out, &written, find_md(hash), NULL);

    assert(is_made == 1); /* as above */
    (void)is_made;
    return written;
}

bool crypto_is_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

/* ---- many hashes ---- */

struct crypto_hasher {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
    size_t block_bytes;
};

struct text {
    const unsigned char *bytes;
    size_t len;
};

struct crypto_hasher *crypto_hasher_create(enum crypto_hash hash)
{
    struct crypto_hasher *hasher = mem_alloc(sizeof(*hasher));

    hasher->md = EVP_MD_fetch(NULL, EVP_MD_get0_name(find_md(hash)), NULL);
    hasher->ctx = EVP_MD_CTX_new();
    assert(hasher->md && hasher->ctx); /* as above */
    hasher->block_bytes = (size_t)EVP_MD_get_block_size(hasher->md);
    assert(hasher->block_bytes <= BLOCK_BYTES_MOST);
    return hasher;
}

void crypto_hasher_free(struct crypto_hasher *hasher)
{
    if (!hasher)
        return;
    EVP_MD_CTX_free(hasher->ctx);
    EVP_MD_free(hasher->md);
    free(hasher);
}

/* The hash of one text behind the other.  NULL is allowed for one of no bytes. */
static size_t hash_two(struct crypto_hasher *hasher, struct text first, struct text second,
                       unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    unsigned int written = 0;
    bool is_made = EVP_DigestInit_ex2(hasher->ctx, hasher->md, NULL) == 1 &&
                   EVP_DigestUpdate(hasher->ctx, first.bytes, first.len) == 1 &&
                   EVP_DigestUpdate(hasher->ctx, second.bytes, second.len) == 1 &&
                   EVP_DigestFinal_ex(hasher->ctx, out, &written) == 1;

    assert(is_made); /* as above */
    (void)is_made;
    return written;
}

size_t crypto_hasher_digest(struct crypto_hasher *hasher, const void *data, size_t len,
                            unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    return hash_two(hasher, (struct text){data, len}, (struct text){NULL, 0}, out);
}

/* RFC 2104: out of two hashes, each behind a block of the key. */
size_t crypto_hasher_hmac(struct crypto_hasher *hasher, const void *key, size_t key_len,
                          const void *data, size_t len, unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    unsigned char block[BLOCK_BYTES_MOST] = {0};
    unsigned char inner[CRYPTO_HASH_BYTES_MOST];
    const struct text padded = {block, hasher->block_bytes};
    size_t inner_len;

    if (key_len > hasher->block_bytes)
        crypto_hasher_digest(hasher, key, key_len, block);
    else if (key_len)
        memcpy(block, key, key_len);
    for (size_t i = 0; i < hasher->block_bytes; i++)
        block[i] ^= INNER_PAD;
    inner_len = hash_two(hasher, padded, (struct text){data, len}, inner);
    for (size_t i = 0; i < hasher->block_bytes; i++)
        block[i] ^= INNER_PAD ^ OUTER_PAD;
    inner_len = hash_two(hasher, padded, (struct text){inner, inner_len}, out);
    OPENSSL_cleanse(block, sizeof(block));
    return inner_len;
}

/* ---- keys ---- */

static bool find_kind(const EVP_PKEY *pkey, enum crypto_kind *out)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(pkey, "RSA")) {
        *out = CRYPTO_RSA;
        return EVP_PKEY_get_bits(pkey) >= RSA_BITS_LEAST &&
               EVP_PKEY_get_bits(pkey) <= RSA_BITS_MOST;
    }
    *out = CRYPTO_P256;
    return EVP_PKEY_is_a(pkey, "EC") &&
           EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

/* Takes pkey over, which may be NULL. */
static enum status wrap(EVP_PKEY *pkey, struct crypto_key **out, struct error *err)
{
    enum crypto_kind kind;

    ERR_clear_error();
    if (!pkey || !find_kind(pkey, &kind)) {
        EVP_PKEY_free(pkey);
        return fail(err, INVALID, "no public key of RSA (%d to %d bits) or P-256", RSA_BITS_LEAST,
                    RSA_BITS_MOST);
    }
    *out = mem_alloc(sizeof(**out));
    (*out)->pkey = pkey;
    (*out)->kind = kind;
    return OK;
}

enum status crypto_key_from_pem(const char *pem, struct crypto_key **out, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return wrap(pkey, out, err);
}

static EVP_PKEY *make(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

enum status crypto_key_from_rsa(struct crypto_number n, struct crypto_number e,
                                struct crypto_key **out, struct error *err)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;
    BIGNUM *modulus = NULL;
    BIGNUM *exponent = NULL;

    if (n.len > 0 && n.len <= RSA_BITS_MOST / CHAR_BIT && e.len > 0 && e.len <= sizeof(uint64_t)) {
        modulus = BN_bin2bn(n.bytes, (int)n.len, NULL);
        exponent = BN_bin2bn(e.bytes, (int)e.len, NULL);
    }
    /* Even ones are no RSA numbers, and an exponent of 1 signs everything. */
    if (build && modulus && exponent && BN_is_odd(modulus) && BN_is_odd(exponent) &&
        !BN_is_one(exponent) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        pkey = make("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return wrap(pkey, out, err);
}

enum status crypto_key_from_p256(struct crypto_number x, struct crypto_number y,
                                 struct crypto_key **out, struct error *err)
{
    unsigned char point[1 + 2 * P256_BYTES] = {0x04}; /* uncompressed */
    OSSL_PARAM_BLD *build;
    EVP_PKEY *pkey = NULL;

    if (x.len != P256_BYTES || y.len != P256_BYTES)
        return fail(err, INVALID, "a coordinate of P-256 is not of %d bytes", P256_BYTES);
    memcpy(point + 1, x.bytes, P256_BYTES);
    memcpy(point + 1 + P256_BYTES, y.bytes, P256_BYTES);
    build = OSSL_PARAM_BLD_new();
    /* A point that is not on the curve is refused while the key is made. */
    if (build &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
        pkey = make("EC", build);
    OSSL_PARAM_BLD_free(build);
    return wrap(pkey, out, err);
}

void crypto_key_free(struct crypto_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

enum crypto_kind crypto_key_kind(const struct crypto_key *key)
{
    return key->kind;
}

/* ---- signatures ---- */

/* r and s side by side as the DER that OpenSSL wants; 0 when it does not fit. */
static size_t write_der(const unsigned char *raw, unsigned char der[DER_BYTES_MOST])
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, P256_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(raw + P256_BYTES, P256_BYTES, NULL);
    unsigned char *end = der;
    int len = 0;

    if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        if (i2d_ECDSA_SIG(sig, NULL) <= DER_BYTES_MOST)
            len = i2d_ECDSA_SIG(sig, &end);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return len > 0 ? (size_t)len : 0;
}

bool crypto_key_verify(const struct crypto_key *key, const void *data, size_t len,
                       const unsigned char *signature, size_t signature_len)
{
    unsigned char der[DER_BYTES_MOST];
    EVP_MD_CTX *ctx;
    bool is_good;

    if (key->kind == CRYPTO_P256) {
        if (signature_len != 2 * (size_t)P256_BYTES)
            return false;
        signature_len = write_der(signature, der);
        signature = der;
    }
    ctx = EVP_MD_CTX_new();
    is_good = signature_len > 0 && ctx &&
              EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
              EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error(); /* a wrong signature leaves its trace there */
    return is_good;
}

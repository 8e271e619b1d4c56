/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto.h - hashes, message authentication and signatures; OpenSSL is behind it and nowhere else.
 */
#pragma once

#include "base.h"

/* SHA-1: where a protocol still has it, and nothing depends on it (opening WebSockets). */
enum crypto_hash { CRYPTO_SHA1, CRYPTO_SHA256, CRYPTO_SHA384, CRYPTO_SHA512 };

enum { CRYPTO_HASH_BYTES_MOST = 64 };

/* Returns how many bytes of out were written. */
size_t crypto_hmac(enum crypto_hash hash, const char *key, const void *data, size_t len,
                   unsigned char out[CRYPTO_HASH_BYTES_MOST]);

/* The same with a key that is not text. */
size_t crypto_hmac_bytes(enum crypto_hash hash, const void *key, size_t key_len, const void *data,
                         size_t len, unsigned char out[CRYPTO_HASH_BYTES_MOST]);
size_t crypto_digest(enum crypto_hash hash, const void *data, size_t len,
                     unsigned char out[CRYPTO_HASH_BYTES_MOST]);

/* For many of one kind: what OpenSSL looks up and allocates for each of the above is kept, which
 * costs more than the hash of a short text.  The results are the same.  One thread at a time. */
struct crypto_hasher;
struct crypto_hasher *crypto_hasher_create(enum crypto_hash hash) MUST_USE;
void crypto_hasher_free(struct crypto_hasher *hasher); /* NULL is allowed */
size_t crypto_hasher_digest(struct crypto_hasher *hasher, const void *data, size_t len,
                            unsigned char out[CRYPTO_HASH_BYTES_MOST]);
size_t crypto_hasher_hmac(struct crypto_hasher *hasher, const void *key, size_t key_len,
                          const void *data, size_t len, unsigned char out[CRYPTO_HASH_BYTES_MOST]);

/* In a time that does not depend on where they differ. */
bool crypto_is_equal(const void *a, const void *b, size_t len);

/* A public key that checks signatures: RSA from 2,048 to 8,192 bits (RFC 7518, section 3.3, refuses
 * smaller ones), or on the curve P-256.  The kind decides what a signature is: RSASSA-PKCS1-v1_5
 * with SHA-256, or ECDSA with SHA-256 as r and s side by side (RFC 7518, section 3.4). */
struct crypto_key;

enum crypto_kind { CRYPTO_RSA, CRYPTO_P256 };

/* INVALID when it is no such key. */
enum status crypto_key_from_pem(const char *pem, struct crypto_key **out,
                                struct error *err) MUST_USE;

/* Numbers as a JSON Web Key has them (RFC 7518, section 6): big-endian bytes. */
struct crypto_number {
    const unsigned char *bytes;
    size_t len;
};
enum status crypto_key_from_rsa(struct crypto_number n, struct crypto_number e,
                                struct crypto_key **out, struct error *err) MUST_USE;
enum status crypto_key_from_p256(struct crypto_number x, struct crypto_number y,
                                 struct crypto_key **out, struct error *err) MUST_USE;

void crypto_key_free(struct crypto_key *key); /* NULL is allowed */
enum crypto_kind crypto_key_kind(const struct crypto_key *key);
bool crypto_key_verify(const struct crypto_key *key, const void *data, size_t len,
                       const unsigned char *signature, size_t signature_len) MUST_USE;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys are made when the tests start; tokens are signed here with OpenSSL, not with the library
 * that checks them.
 */
#include "auth.h"
#include "buf.h"
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define SECRET "a secret that is long enough for any of the three, and then some more of it"

enum { NOW = 1800000000, BYTES = 4096 };

struct keys {
    EVP_PKEY *rsa;
    EVP_PKEY *ec;
    char rsa_file[64];
    char ec_file[64];
    char rsa_pem[BYTES];
};

/* ---- making tokens ---- */

static void add_base64url(struct buf *out, const unsigned char *bytes, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int count = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6)
            buf_addc(out, alphabet[bits >> (count - 6) & 63]);
    }
    if (count > 0)
        buf_addc(out, alphabet[bits << (6 - count) & 63]);
}

static void begin_token(struct buf *out, const char *alg, const char *claims)
{
    char header[64];

    snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg);
    buf_init(out, BYTES);
    add_base64url(out, (const unsigned char *)header, strlen(header));
    buf_addc(out, '.');
    add_base64url(out, (const unsigned char *)claims, strlen(claims));
}

static char *hmac_token(const char *alg, const char *key, const char *claims)
{
    const EVP_MD *md = strcmp(alg, "HS512") == 0   ? EVP_sha512()
                       : strcmp(alg, "HS384") == 0 ? EVP_sha384()
                                                   : EVP_sha256();
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    struct buf out;

    begin_token(&out, alg, claims);
    assert_non_null(
        HMAC(md, key, (int)strlen(key), (const unsigned char *)out.data, out.len, mac, &len));
    buf_addc(&out, '.');
    add_base64url(&out, mac, len);
    return buf_take(&out);
}

/* JWS wants r and s side by side (RFC 7518, section 3.4), OpenSSL gives them as DER. */
static size_t raw_ecdsa(const unsigned char *der, size_t len, unsigned char raw[64])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

    assert_non_null(sig);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
    ECDSA_SIG_free(sig);
    return 64;
}

static char *key_token(const char *alg, EVP_PKEY *key, const char *claims)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[1024];
    unsigned char raw[64];
    size_t len = sizeof(sig);
    struct buf out;

    begin_token(&out, alg, claims);
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)out.data, out.len), 1);
    EVP_MD_CTX_free(ctx);
    buf_addc(&out, '.');
    if (alg[0] == 'E')
        len = raw_ecdsa(sig, len, raw);
    add_base64url(&out, alg[0] == 'E' ? raw : sig, len);
    return buf_take(&out);
}

/* ---- keys ---- */

static void write_public_key(EVP_PKEY *key, char path[64])
{
    FILE *file;
    int fd;

    strcpy(path, "/tmp/test_auth_XXXXXX"); /* NOLINT: fits */
    fd = mkstemp(path);
    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_int_equal(PEM_write_PUBKEY(file, key), 1);
    fclose(file);
}

static int make_keys(void **state)
{
    struct keys *keys = calloc(1, sizeof(*keys));
    FILE *file;

    keys->rsa = EVP_RSA_gen(2048);
    keys->ec = EVP_EC_gen("P-256");
    assert_non_null(keys->rsa);
    assert_non_null(keys->ec);
    write_public_key(keys->rsa, keys->rsa_file);
    write_public_key(keys->ec, keys->ec_file);
    file = fopen(keys->rsa_file, "r");
    assert_true(fread(keys->rsa_pem, 1, BYTES - 1, file) > 0);
    fclose(file);
    *state = keys;
    return 0;
}

static int drop_keys(void **state)
{
    struct keys *keys = *state;

    unlink(keys->rsa_file);
    unlink(keys->ec_file);
    EVP_PKEY_free(keys->rsa);
    EVP_PKEY_free(keys->ec);
    free(keys);
    return 0;
}

/* ---- checking ---- */

/* A copy: struct config's texts are not const. */
static struct auth *create(const char *secret, const char *key_file, const char *issuer,
                           const char *audience)
{
    struct config config = {.jwt_leeway_s = 30};
    struct auth *auth = NULL;
    struct error err;

    config.jwt_secret = mem_strdup(secret);
    config.jwt_public_key_file = mem_strdup(key_file);
    config.jwt_issuer = mem_strdup(issuer);
    config.jwt_audience = mem_strdup(audience);
    assert_int_equal(auth_create(&config, &auth, &err), OK);
    free(config.jwt_secret);
    free(config.jwt_public_key_file);
    free(config.jwt_issuer);
    free(config.jwt_audience);
    return auth;
}

/* Frees the token. */
static enum status verify(const struct auth *auth, char *token, struct error *err)
{
    struct buf claims;
    enum status st;

    buf_init(&claims, BYTES);
    memset(err, 0, sizeof(*err));
    st = auth_verify(auth, token, NOW, &claims, err);
    if (st == OK)
        assert_non_null(strstr(buf_str(&claims), "\"ann\""));
    else
        assert_int_equal(claims.len, 0);
    if (st != OK)
        assert_null(strstr(err->text, token)); /* errors end up in the log */
    buf_done(&claims);
    free(token);
    return st;
}

static void check(const struct auth *auth, char *token, enum status expected)
{
    struct error err;

    assert_int_equal(verify(auth, token, &err), expected);
}

static void test_hmac_tokens_of_all_three_sizes_are_accepted(void **state)
{
    static const char *const algs[] = {"HS256", "HS384", "HS512"};
    struct auth *auth = create(SECRET, "", "", "");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        check(auth, hmac_token(algs[i], SECRET, "{\"sub\":\"ann\"}"), OK);
        check(auth, hmac_token(algs[i], "another secret", "{\"sub\":\"ann\"}"), DENIED);
    }
    auth_free(auth);
}

static void test_rsa_and_ecdsa_tokens_are_accepted(void **state)
{
    const struct keys *keys = *state;
    struct auth *rsa = create("", keys->rsa_file, "", "");
    struct auth *ec = create("", keys->ec_file, "", "");

    check(rsa, key_token("RS256", keys->rsa, "{\"sub\":\"ann\"}"), OK);
    check(ec, key_token("ES256", keys->ec, "{\"sub\":\"ann\"}"), OK);
    check(rsa, key_token("ES256", keys->ec, "{\"sub\":\"ann\"}"), DENIED);
    check(ec, key_token("RS256", keys->rsa, "{\"sub\":\"ann\"}"), DENIED);
    auth_free(rsa);
    auth_free(ec);
}

static void test_both_kinds_of_key_can_be_set(void **state)
{
    const struct keys *keys = *state;
    struct auth *auth = create(SECRET, keys->rsa_file, "", "");

    check(auth, key_token("RS256", keys->rsa, "{\"sub\":\"ann\"}"), OK);
    check(auth, hmac_token("HS256", SECRET, "{\"sub\":\"ann\"}"), OK);
    auth_free(auth);
}

static void test_a_changed_token_is_refused(void **state)
{
    const struct keys *keys = *state;
    struct auth *auth = create(SECRET, keys->rsa_file, "", "");
    char *token = hmac_token("HS256", SECRET, "{\"sub\":\"ann\"}");
    char *signature = strrchr(token, '.') + 1;

    signature[3] = signature[3] == 'A' ? 'B' : 'A';
    check(auth, token, DENIED);
    token = key_token("RS256", keys->rsa, "{\"sub\":\"ann\"}");
    token[strcspn(token, ".") + 5] ^= 1;
    check(auth, token, DENIED);
    auth_free(auth);
}

static void test_alg_none_is_refused(void **state)
{
    static const char *const algs[] = {"none", "None", "NONE", "nOnE", ""};
    const struct keys *keys = *state;
    struct auth *auths[] = {create(SECRET, "", "", ""), create("", keys->rsa_file, "", ""),
                            create("", "", "", "")};

    for (size_t a = 0; a < ARRAY_LEN(auths); a++) {
        for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
            struct buf out;

            begin_token(&out, algs[i], "{\"sub\":\"ann\"}");
            check(auths[a], mem_strdup(buf_str(&out)), DENIED);
            buf_addc(&out, '.');
            check(auths[a], buf_take(&out), DENIED);
        }
        auth_free(auths[a]);
    }
}

/* The public key is public: whoever signs with it as an HMAC secret must not get in. */
static void test_a_public_key_is_no_hmac_secret(void **state)
{
    const struct keys *keys = *state;
    struct auth *auths[] = {create("", keys->rsa_file, "", ""),
                            create(SECRET, keys->rsa_file, "", "")};

    for (size_t i = 0; i < ARRAY_LEN(auths); i++) {
        check(auths[i], hmac_token("HS256", keys->rsa_pem, "{\"sub\":\"ann\"}"), DENIED);
        check(auths[i], hmac_token("HS512", keys->rsa_pem, "{\"sub\":\"ann\"}"), DENIED);
        auth_free(auths[i]);
    }
}

static void test_times_are_checked_with_the_leeway(void **state)
{
    static const struct {
        const char *claims;
        enum status expected;
    } cases[] = {
        {"{\"sub\":\"ann\",\"exp\":1800000001}", OK},
        {"{\"sub\":\"ann\",\"exp\":1799999971}", OK},
        {"{\"sub\":\"ann\",\"exp\":1799999970}", DENIED},
        {"{\"sub\":\"ann\",\"exp\":1799999971.5}", OK},
        {"{\"sub\":\"ann\",\"exp\":\"1900000000\"}", DENIED},
        {"{\"sub\":\"ann\",\"exp\":null}", DENIED},
        {"{\"sub\":\"ann\",\"exp\":0}", DENIED},
        {"{\"sub\":\"ann\",\"nbf\":1800000030}", OK},
        {"{\"sub\":\"ann\",\"nbf\":1800000031}", DENIED},
        {"{\"sub\":\"ann\",\"nbf\":\"soon\"}", DENIED},
        {"{\"sub\":\"ann\",\"nbf\":1,\"exp\":1900000000}", OK},
    };
    struct auth *auth = create(SECRET, "", "", "");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(auth, hmac_token("HS256", SECRET, cases[i].claims), cases[i].expected);
    auth_free(auth);
}

static void test_issuer_and_audience_are_checked_when_they_are_set(void **state)
{
    static const struct {
        const char *claims;
        enum status expected;
    } cases[] = {
        {"{\"sub\":\"ann\",\"iss\":\"us\",\"aud\":\"app\"}", OK},
        {"{\"sub\":\"ann\",\"iss\":\"us\",\"aud\":[\"web\",\"app\"]}", OK},
        {"{\"sub\":\"ann\",\"iss\":\"us\",\"aud\":[\"web\"]}", DENIED},
        {"{\"sub\":\"ann\",\"iss\":\"us\",\"aud\":[]}", DENIED},
        {"{\"sub\":\"ann\",\"iss\":\"us\",\"aud\":[7,{}]}", DENIED},
        {"{\"sub\":\"ann\",\"iss\":\"us\"}", DENIED},
        {"{\"sub\":\"ann\",\"iss\":\"them\",\"aud\":\"app\"}", DENIED},
        {"{\"sub\":\"ann\",\"iss\":[\"us\"],\"aud\":\"app\"}", DENIED},
        {"{\"sub\":\"ann\",\"aud\":\"app\"}", DENIED},
    };
    struct auth *strict = create(SECRET, "", "us", "app");
    struct auth *easy = create(SECRET, "", "", "");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check(strict, hmac_token("HS256", SECRET, cases[i].claims), cases[i].expected);
        check(easy, hmac_token("HS256", SECRET, cases[i].claims), OK);
    }
    auth_free(strict);
    auth_free(easy);
}

static void test_what_is_no_token_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        ".",
                                        "..",
                                        "...",
                                        "a.b.c",
                                        "eyJhbGciOiJIUzI1NiJ9",
                                        "eyJhbGciOiJIUzI1NiJ9..",
                                        "\xff\xfe.\x01.x"};
    struct auth *auth = create(SECRET, "", "", "");
    char *long_token = mem_alloc(100001);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct buf claims;

        buf_init(&claims, BYTES);
        assert_int_equal(auth_verify(auth, texts[i], NOW, &claims, NULL), DENIED);
        assert_int_equal(claims.len, 0);
        buf_done(&claims);
    }
    memset(long_token, 'a', 100000);
    check(auth, long_token, DENIED);
    /* Signed, but no object. */
    check(auth, hmac_token("HS256", SECRET, "[\"ann\"]"), DENIED);
    auth_free(auth);
}

static void test_without_a_key_every_token_is_refused(void **state)
{
    struct auth *auth = create("", "", "", "");

    (void)state;
    check(auth, hmac_token("HS256", SECRET, "{\"sub\":\"ann\"}"), DENIED);
    check(auth, hmac_token("HS256", "", "{\"sub\":\"ann\"}"), DENIED);
    auth_free(auth);
}

static void check_key_file(const char *content)
{
    char path[] = "/tmp/test_auth_XXXXXX";
    struct config config = {.jwt_public_key_file = path};
    struct auth *auth = NULL;
    struct error err = {0};
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
    assert_int_equal(auth_create(&config, &auth, &err), INVALID);
    assert_null(auth);
    assert_non_null(strstr(err.text, path));
    unlink(path);
    assert_int_equal(auth_create(&config, &auth, &err), INVALID); /* not there at all */
    assert_non_null(strstr(err.text, path));
}

static void test_a_file_that_is_no_public_key_is_named(void **state)
{
    (void)state;
    check_key_file("");
    check_key_file("secret\n");
    check_key_file("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    check_key_file("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n"
                   "-----END PRIVATE KEY-----\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hmac_tokens_of_all_three_sizes_are_accepted),
        cmocka_unit_test(test_rsa_and_ecdsa_tokens_are_accepted),
        cmocka_unit_test(test_both_kinds_of_key_can_be_set),
        cmocka_unit_test(test_a_changed_token_is_refused),
        cmocka_unit_test(test_alg_none_is_refused),
        cmocka_unit_test(test_a_public_key_is_no_hmac_secret),
        cmocka_unit_test(test_times_are_checked_with_the_leeway),
        cmocka_unit_test(test_issuer_and_audience_are_checked_when_they_are_set),
        cmocka_unit_test(test_what_is_no_token_is_refused),
        cmocka_unit_test(test_without_a_key_every_token_is_refused),
        cmocka_unit_test(test_a_file_that_is_no_public_key_is_named),
    };

    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}

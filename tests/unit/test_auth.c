/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys are made when the tests start.
 */
#include "auth.h"
#include "buf.h"
#include "config.h"
#include "json.h"
#include "tokens.h"

#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>

#define SECRET "a secret that is long enough for any of the three, and then some more of it"

enum { NOW = 1800000000, BYTES = 4096 };

struct keys {
    EVP_PKEY *rsa;
    EVP_PKEY *ec;
    char rsa_file[64];
    char ec_file[64];
    char rsa_pem[BYTES];
};

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
static enum status verify(struct auth *auth, char *token, struct error *err)
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

static void check(struct auth *auth, char *token, enum status expected)
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
            char header[64];
            struct buf out;

            snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", algs[i]);
            begin_token(&out, header, "{\"sub\":\"ann\"}");
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

/* Access tokens say what they are (RFC 9068); a token for another purpose is no way in. */
static void test_the_type_of_a_token_is_checked(void **state)
{
    static const struct {
        const char *header;
        enum status expected;
    } cases[] = {
        {"{\"alg\":\"HS256\"}", OK},
        {"{\"alg\":\"HS256\",\"typ\":\"jwt\"}", OK},
        {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", OK},
        {"{\"alg\":\"HS256\",\"typ\":\"application/at+jwt\"}", OK},
        {"{\"alg\":\"HS256\",\"typ\":\"logout+jwt\"}", DENIED},
        {"{\"alg\":\"HS256\",\"typ\":7}", DENIED},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", DENIED},
        {"{\"alg\":\"HS256\",\"kid\":\"any\"}", OK}, /* there is one secret */
        {"{\"alg\":\"HS256\",\"kid\":7}", DENIED},
        {"{\"alg\":\"hs256\"}", DENIED},
        {"{\"alg\":[\"HS256\"]}", DENIED},
        {"{\"typ\":\"JWT\"}", DENIED},
        {"{\"alg\":\"none\",\"alg\":\"HS256\"}", OK}, /* the last one, as for everybody here */
        {"{\"alg\":\"HS256\",\"alg\":\"none\"}", DENIED},
        {"[\"HS256\"]", DENIED},
        {"HS256", DENIED},
    };
    struct auth *auth = create(SECRET, "", "", "");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(auth, hmac_token_with(cases[i].header, EVP_sha256(), SECRET, "{\"sub\":\"ann\"}"),
              cases[i].expected);
    auth_free(auth);
}

/* One spelling for each token: what else decodes to the same bytes is refused. */
static void test_a_token_has_one_spelling(void **state)
{
    struct auth *auth = create(SECRET, "", "", "");
    char *token = hmac_token("HS256", SECRET, "{\"sub\":\"ann\"}");
    size_t len = strlen(token);
    char *padded = mem_alloc(len + 2);

    (void)state;
    memcpy(padded, token, len);
    padded[len] = '=';
    check(auth, padded, DENIED);
    /* 32 bytes are 43 characters, of which the last has two bits to spare. */
    assert_non_null(strchr("AEIMQUYcgkosw048", token[len - 1]));
    token[len - 1]++;
    check(auth, token, DENIED);
    auth_free(auth);
}

static void test_what_is_signed_here_is_accepted_here(void **state)
{
    static const char *const algs[] = {"HS256", "HS384", "HS512"};
    struct auth *auth = create(SECRET, "", "", "");
    struct auth *keyless = create("", "", "", "");
    struct buf token;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        char *expected = hmac_token(algs[i], SECRET, "{\"sub\":\"ann\"}");

        buf_init(&token, BYTES);
        assert_int_equal(auth_sign(auth, algs[i], "{\"sub\":\"ann\"}", &token, NULL), OK);
        assert_string_equal(buf_str(&token), expected);
        check(auth, buf_take(&token), OK);
        free(expected);
    }
    buf_init(&token, BYTES);
    assert_int_equal(auth_sign(auth, "RS256", "{}", &token, NULL), INVALID);
    assert_int_equal(auth_sign(auth, "none", "{}", &token, NULL), INVALID);
    assert_int_equal(auth_sign(keyless, "HS256", "{}", &token, NULL), INVALID);
    assert_int_equal(token.len, 0);
    buf_done(&token);
    auth_free(auth);
    auth_free(keyless);
}

static void check_demo(const char *setting, const char *token, const char *expected)
{
    char *value = mem_strdup(setting);
    struct config config = {.demo_tokens = value};
    struct auth *auth = NULL;
    struct buf claims;

    assert_int_equal(auth_create(&config, &auth, NULL), OK);
    buf_init(&claims, BYTES);
    if (expected) {
        assert_int_equal(auth_verify(auth, token, NOW, &claims, NULL), OK);
        assert_string_equal(buf_str(&claims), expected);
    } else {
        assert_int_equal(auth_verify(auth, token, NOW, &claims, NULL), DENIED);
        assert_int_equal(claims.len, 0);
    }
    buf_done(&claims);
    auth_free(auth);
    free(value);
}

static void test_demo_tokens_are_good_with_the_setting_only(void **state)
{
    (void)state;
    check_demo("on", "valid_ann", "{\"demo\":\"true\",\"principalId\":\"ann\"}");
    check_demo("on", "valid_", "{\"demo\":\"true\",\"principalId\":\"anonymous\"}");
    check_demo("on", "valid_\"},{", "{\"demo\":\"true\",\"principalId\":\"\\\"},{\"}");
    check_demo("on", "invalid_ann", NULL);
    check_demo("on", "Valid_ann", NULL);
    check_demo("on", "valid", NULL);
    check_demo("off", "valid_ann", NULL);
    check_demo("", "valid_ann", NULL);
}

static void test_weak_and_foreign_keys_are_refused(void **state)
{
    EVP_PKEY *keys[] = {EVP_RSA_gen(1024), EVP_EC_gen("P-384"), EVP_EC_gen("secp256k1"),
                        EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char path[64];
        struct config config = {.jwt_public_key_file = path};
        struct auth *auth = NULL;

        assert_non_null(keys[i]);
        write_public_key(keys[i], path);
        assert_int_equal(auth_create(&config, &auth, NULL), INVALID);
        unlink(path);
        EVP_PKEY_free(keys[i]);
    }
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
        cmocka_unit_test(test_the_type_of_a_token_is_checked),
        cmocka_unit_test(test_a_token_has_one_spelling),
        cmocka_unit_test(test_what_is_signed_here_is_accepted_here),
        cmocka_unit_test(test_demo_tokens_are_good_with_the_setting_only),
        cmocka_unit_test(test_weak_and_foreign_keys_are_refused),
    };

    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}

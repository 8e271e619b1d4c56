/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key sets: what is taken from them, and tokens that are checked with them.
 */
#include "auth.h"
#include "buf.h"
#include "config.h"
#include "json.h"
#include "jwks.h"
#include "tokens.h"

#include <stdlib.h>
#include <unistd.h>

#include <openssl/core_names.h>

enum { NOW = 1800000000, BYTES = 65536, NUMBER_BYTES = 512 };

#define CLAIMS "{\"sub\":\"ann\"}"

struct keys {
    EVP_PKEY *rsa, *other_rsa, *ec;
};

static int make_keys(void **state)
{
    struct keys *keys = calloc(1, sizeof(*keys));

    keys->rsa = EVP_RSA_gen(2048);
    keys->other_rsa = EVP_RSA_gen(2048);
    keys->ec = EVP_EC_gen("P-256");
    assert_non_null(keys->rsa);
    assert_non_null(keys->other_rsa);
    assert_non_null(keys->ec);
    *state = keys;
    return 0;
}

static int drop_keys(void **state)
{
    struct keys *keys = *state;

    EVP_PKEY_free(keys->rsa);
    EVP_PKEY_free(keys->other_rsa);
    EVP_PKEY_free(keys->ec);
    free(keys);
    return 0;
}

/* ---- writing sets ---- */

/* least: as many bytes at least, zeroes in front. */
static void add_number(struct buf *out, const char *name, const EVP_PKEY *key, const char *param,
                       int least)
{
    unsigned char bytes[NUMBER_BYTES];
    BIGNUM *number = NULL;
    struct buf text;
    int len;

    assert_int_equal(EVP_PKEY_get_bn_param(key, param, &number), 1);
    len = BN_num_bytes(number) < least ? least : BN_num_bytes(number);
    assert_int_equal(BN_bn2binpad(number, bytes, len), len);
    BN_free(number);
    buf_init(&text, BYTES);
    base64url_add(&text, bytes, (size_t)len);
    json_str(out, name, buf_str(&text));
    buf_done(&text);
}

/* kid NULL: none; more: members as JSON, or NULL. */
static void add_jwk(struct buf *out, const EVP_PKEY *key, const char *kid, const char *more)
{
    bool is_ec = EVP_PKEY_is_a(key, "EC");

    json_open(out, NULL, '{');
    json_str(out, "kty", is_ec ? "EC" : "RSA");
    if (is_ec)
        json_str(out, "crv", "P-256");
    add_number(out, is_ec ? "x" : "n", key, is_ec ? OSSL_PKEY_PARAM_EC_PUB_X : "n", is_ec ? 32 : 1);
    add_number(out, is_ec ? "y" : "e", key, is_ec ? OSSL_PKEY_PARAM_EC_PUB_Y : "e", is_ec ? 32 : 1);
    if (kid)
        json_str(out, "kid", kid);
    if (more)
        buf_addf(out, ",%s", more);
    json_close(out, '}');
}

static void begin_set(struct buf *out)
{
    buf_init(out, BYTES);
    json_open(out, NULL, '{');
    json_open(out, "keys", '[');
}

static void end_set(struct buf *out)
{
    json_close(out, ']');
    json_close(out, '}');
    assert_false(buf_full(out));
}

static char *set_of(const EVP_PKEY *key, const char *kid, const char *more)
{
    struct buf out;

    begin_set(&out);
    add_jwk(&out, key, kid, more);
    end_set(&out);
    return buf_take(&out);
}

/* Frees the text. */
static size_t count_keys(char *text)
{
    struct jwks *jwks = NULL;
    size_t count = 0;

    if (jwks_parse(text, strlen(text), &jwks, NULL) == OK) {
        count = jwks_count(jwks);
        assert_true(count > 0);
    } else {
        assert_null(jwks);
    }
    jwks_free(jwks);
    free(text);
    return count;
}

/* ---- sets ---- */

static void test_keys_for_our_algorithms_are_taken(void **state)
{
    const struct keys *keys = *state;

    assert_int_equal(count_keys(set_of(keys->rsa, "a", NULL)), 1);
    assert_int_equal(count_keys(set_of(keys->ec, NULL, NULL)), 1);
    assert_int_equal(count_keys(set_of(keys->rsa, "a", "\"use\":\"sig\",\"alg\":\"RS256\"")), 1);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"alg\":\"ES256\"")), 1);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"key_ops\":[\"sign\",\"verify\"]")), 1);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"x5c\":[\"AA\"],\"unknown\":{}")), 1);
}

static void test_keys_for_other_purposes_are_passed_over(void **state)
{
    const struct keys *keys = *state;

    assert_int_equal(count_keys(set_of(keys->rsa, "a", "\"use\":\"enc\"")), 0);
    assert_int_equal(count_keys(set_of(keys->rsa, "a", "\"alg\":\"RSA-OAEP\"")), 0);
    assert_int_equal(count_keys(set_of(keys->rsa, "a", "\"alg\":\"HS256\"")), 0);
    assert_int_equal(count_keys(set_of(keys->rsa, "a", "\"alg\":\"ES256\"")), 0);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"alg\":\"RS256\"")), 0);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"key_ops\":[\"encrypt\"]")), 0);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"key_ops\":\"verify\"")), 0);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"crv\":\"P-384\"")), 0);
    assert_int_equal(count_keys(set_of(keys->ec, "a", "\"kty\":\"RSA\"")), 0);
}

static void test_numbers_that_are_no_key_are_passed_over(void **state)
{
    static const char *const more[] = {
        "\"n\":\"AQAB\"", "\"n\":\"\"",     "\"n\":7",    "\"n\":\"+/==\"",         "\"e\":\"AQ\"",
        "\"e\":\"\"",     "\"e\":\"AAAA\"", "\"e\":null", "\"e\":\"AQAAAAAAAAAB\"",
    };
    static const char *const points[] = {
        "\"x\":\"AQAB\"",
        "\"x\":\"\"",
        "\"y\":null",
        /* on no curve */
        "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"",
        "\"x\":\"__________________________________________8\"",
    };
    const struct keys *keys = *state;
    EVP_PKEY *small = EVP_RSA_gen(1024);

    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        assert_int_equal(count_keys(set_of(keys->rsa, "a", more[i])), 0);
    for (size_t i = 0; i < ARRAY_LEN(points); i++)
        assert_int_equal(count_keys(set_of(keys->ec, "a", points[i])), 0);
    assert_int_equal(count_keys(set_of(small, "a", NULL)), 0);
    EVP_PKEY_free(small);
}

static void test_what_is_no_set_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[7,null,\"a\",[]]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\",\"kid\":\"a\",\"alg\":\"HS256\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\"}]}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(count_keys(mem_strdup(texts[i])), 0);
}

static void test_a_set_has_a_largest_size(void **state)
{
    const struct keys *keys = *state;
    struct buf out;

    begin_set(&out);
    for (int i = 0; i < JWKS_MAX_KEYS + 5; i++)
        add_jwk(&out, keys->ec, "a", NULL);
    end_set(&out);
    assert_int_equal(count_keys(buf_take(&out)), JWKS_MAX_KEYS);
}

static void test_keys_are_found_by_id_and_kind(void **state)
{
    const struct keys *keys = *state;
    struct jwks *jwks = NULL;
    struct buf out;
    size_t at = 0;

    begin_set(&out);
    add_jwk(&out, keys->rsa, "a", NULL);
    add_jwk(&out, keys->ec, "a", NULL);
    add_jwk(&out, keys->ec, NULL, NULL);
    add_jwk(&out, keys->other_rsa, "b", NULL);
    end_set(&out);
    assert_int_equal(jwks_parse(out.data, out.len, &jwks, NULL), OK);
    buf_done(&out);
    assert_non_null(jwks_next(jwks, "a", CRYPTO_RSA, &at));
    assert_null(jwks_next(jwks, "a", CRYPTO_RSA, &at));
    at = 0;
    assert_non_null(jwks_next(jwks, NULL, CRYPTO_P256, &at));
    assert_non_null(jwks_next(jwks, NULL, CRYPTO_P256, &at));
    assert_null(jwks_next(jwks, NULL, CRYPTO_P256, &at));
    at = 0;
    assert_null(jwks_next(jwks, "b", CRYPTO_P256, &at));
    at = 0;
    assert_null(jwks_next(jwks, "c", CRYPTO_RSA, &at));
    at = 0;
    assert_null(jwks_next(jwks, "", CRYPTO_P256, &at));
    jwks_free(jwks);
}

/* ---- tokens ---- */

/* Another file each time, as a deployment does it. */
static void write_file(const char *path, char *text)
{
    char temporary[128];
    FILE *file;

    snprintf(temporary, sizeof(temporary), "%s.new", path);
    file = fopen(temporary, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
    assert_int_equal(rename(temporary, path), 0);
    free(text);
}

static void name_file(char path[64])
{
    snprintf(path, 64, "/tmp/test_jwks_%ld", (long)getpid());
}

static struct auth *create(const char *path)
{
    char *copy = mem_strdup(path);
    struct config config = {.jwt_jwks_file = copy, .jwt_leeway_s = 30};
    struct auth *auth = NULL;

    assert_int_equal(auth_create(&config, &auth, NULL), OK);
    free(copy);
    assert_true(auth_is_set(auth));
    return auth;
}

static void check(struct auth *auth, char *token, enum status expected)
{
    struct buf claims;

    buf_init(&claims, BYTES);
    assert_int_equal(auth_verify(auth, token, NOW, &claims, NULL), expected);
    assert_string_equal(buf_str(&claims), expected == OK ? CLAIMS : "");
    buf_done(&claims);
    free(token);
}

static char *token_of(EVP_PKEY *key, const char *kid)
{
    const char *alg = EVP_PKEY_is_a(key, "EC") ? "ES256" : "RS256";
    char header[128];

    if (kid)
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", alg, kid);
    else
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", alg);
    return key_token_with(header, key, CLAIMS);
}

static void test_a_token_is_checked_with_the_key_that_it_names(void **state)
{
    const struct keys *keys = *state;
    struct auth *auth;
    char path[64];
    struct buf out;

    name_file(path);
    begin_set(&out);
    add_jwk(&out, keys->rsa, "one", NULL);
    add_jwk(&out, keys->other_rsa, "two", NULL);
    add_jwk(&out, keys->ec, "two", NULL);
    end_set(&out);
    write_file(path, buf_take(&out));
    auth = create(path);
    check(auth, token_of(keys->rsa, "one"), OK);
    check(auth, token_of(keys->other_rsa, "two"), OK);
    check(auth, token_of(keys->ec, "two"), OK);
    check(auth, token_of(keys->rsa, "two"), DENIED);
    check(auth, token_of(keys->ec, "one"), DENIED);
    check(auth, token_of(keys->rsa, "three"), DENIED);
    check(auth, token_of(keys->other_rsa, NULL), OK);
    check(auth, token_of(keys->ec, NULL), OK);
    auth_free(auth);
    unlink(path);
}

/* What is public must not become a secret: neither the set's text nor a number of its keys. */
static void test_a_key_set_is_no_hmac_secret(void **state)
{
    const struct keys *keys = *state;
    struct auth *auth;
    char path[64];
    char *text = set_of(keys->rsa, "one", NULL);
    char *copy = mem_strdup(text);

    name_file(path);
    write_file(path, text);
    auth = create(path);
    check(auth, hmac_token("HS256", copy, CLAIMS), DENIED);
    check(auth,
          hmac_token_with("{\"alg\":\"HS256\",\"kid\":\"one\"}", EVP_sha256(), "AQAB", CLAIMS),
          DENIED);
    check(auth, hmac_token("HS256", "", CLAIMS), DENIED);
    free(copy);
    auth_free(auth);
    unlink(path);
}

static void test_a_file_that_changes_is_read_again(void **state)
{
    const struct keys *keys = *state;
    struct auth *auth;
    char path[64];

    name_file(path);
    write_file(path, set_of(keys->rsa, "one", NULL));
    auth = create(path);
    check(auth, token_of(keys->rsa, "one"), OK);
    check(auth, token_of(keys->ec, "two"), DENIED);
    write_file(path, set_of(keys->ec, "two", NULL));
    check(auth, token_of(keys->ec, "two"), OK);
    check(auth, token_of(keys->rsa, "one"), DENIED);
    /* One that is no set, or is gone, leaves the keys as they are. */
    write_file(path, mem_strdup("{\"keys\":"));
    check(auth, token_of(keys->ec, "two"), OK);
    unlink(path);
    check(auth, token_of(keys->ec, "two"), OK);
    write_file(path, set_of(keys->rsa, "three", NULL));
    check(auth, token_of(keys->rsa, "three"), OK);
    check(auth, token_of(keys->ec, "two"), DENIED);
    auth_free(auth);
    unlink(path);
}

static void check_refused(struct config *config, const char *part)
{
    struct auth *auth = NULL;
    struct error err = {0};

    assert_int_equal(auth_create(config, &auth, &err), INVALID);
    assert_null(auth);
    assert_non_null(strstr(err.text, part));
}

static void test_wrong_settings_are_refused_at_the_start(void **state)
{
    char missing[] = "/nonexistent/keys.json";
    char ftp[] = "ftp://example.com/keys.json";
    char path[64];

    (void)state;
    name_file(path);
    write_file(path, mem_strdup("{\"keys\":[]}"));
    check_refused(&(struct config){.jwt_jwks_file = missing}, missing);
    check_refused(&(struct config){.jwt_jwks_file = path}, path);
    check_refused(&(struct config){.jwt_jwks_url = ftp}, "jwt_jwks_url");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_for_our_algorithms_are_taken),
        cmocka_unit_test(test_keys_for_other_purposes_are_passed_over),
        cmocka_unit_test(test_numbers_that_are_no_key_are_passed_over),
        cmocka_unit_test(test_what_is_no_set_is_refused),
        cmocka_unit_test(test_a_set_has_a_largest_size),
        cmocka_unit_test(test_keys_are_found_by_id_and_kind),
        cmocka_unit_test(test_a_token_is_checked_with_the_key_that_it_names),
        cmocka_unit_test(test_a_key_set_is_no_hmac_secret),
        cmocka_unit_test(test_a_file_that_changes_is_read_again),
        cmocka_unit_test(test_wrong_settings_are_refused_at_the_start),
    };

    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Secrets Manager answers, and what is in it.
 */
#include "secrets.h"

#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static enum status read_answer(const char *answer, long http_status, struct buf *value,
                               struct error *err)
{
    buf_init(value, 64);
    return secret_read_answer(answer, strlen(answer), http_status, value, err);
}

static void test_the_value_is_the_secret_string(void **state)
{
    struct buf value;

    (void)state;
    assert_int_equal(read_answer("{\"ARN\":\"arn:x\",\"Name\":\"n\",\"SecretString\":"
                                 "\"{\\\"password\\\":\\\"p\\\\u00e9\\\"}\",\"VersionId\":\"v\"}",
                                 200, &value, NULL),
                     OK);
    assert_string_equal(buf_str(&value), "{\"password\":\"p\\u00e9\"}");
    secret_done(&value);
}

static void test_what_has_none_is_an_error(void **state)
{
    static const char *const answers[] = {
        "", "x", "[]", "{}", "\"text\"", "{\"SecretString\":7}", "{\"SecretBinary\":\"eA==\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct error err = {0};
        struct buf value;

        assert_int_equal(read_answer(answers[i], 200, &value, &err), INVALID);
        assert_non_null(strstr(err.text, "without a SecretString"));
        assert_int_equal(value.len, 0);
        secret_done(&value);
    }
}

static void test_one_that_is_too_large_is_an_error(void **state)
{
    struct error err = {0};
    struct buf value;

    (void)state;
    assert_int_equal(read_answer("{\"SecretString\":\"0123456789012345678901234567890123456789"
                                 "0123456789012345678901234\"}",
                                 200, &value, &err),
                     LIMIT);
    secret_done(&value);
}

static void test_a_refusal_says_what_to_look_at(void **state)
{
    static const struct {
        const char *answer;
        long http_status;
        enum status status;
        const char *text;
    } cases[] = {
        {"{\"__type\":\"ResourceNotFoundException\",\"Message\":\"m\"}", 400, NOT_FOUND, "ARN"},
        {"{\"__type\":\"com.amazonaws.x#AccessDeniedException\"}", 400, DENIED,
         "secretsmanager:GetSecretValue"},
        {"{\"__type\":\"InvalidSignatureException\"}", 400, DENIED, "clock"},
        {"{\"__type\":\"ThrottlingException\"}", 400, UNAVAILABLE, "too many"},
        {"{\"__type\":\"Whatever\"}", 400, INVALID, "400 Whatever"},
        {"{\"__type\":\"InternalServiceError\"}", 500, UNAVAILABLE, "500 InternalServiceError"},
        {"{\"__type\":7}", 429, UNAVAILABLE, "429"},
        {"<html>", 503, UNAVAILABLE, "503"},
        {"{\"SecretString\":\"x\"}", 403, INVALID, "403"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = {0};
        struct buf value;

        assert_int_equal(read_answer(cases[i].answer, cases[i].http_status, &value, &err),
                         cases[i].status);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_int_equal(value.len, 0);
        secret_done(&value);
    }
}

static void assert_login(const char *value, const char *user, const char *password)
{
    char *got_user = NULL;
    char *got_password = NULL;

    assert_int_equal(secret_read_login(value, strlen(value), &got_user, &got_password, NULL), OK);
    if (user)
        assert_string_equal(got_user, user);
    else
        assert_null(got_user);
    assert_string_equal(got_password, password);
    secret_free(got_user);
    secret_free(got_password);
}

static void test_a_login_is_json_or_a_password_alone(void **state)
{
    (void)state;
    assert_login("{\"username\":\"u\",\"password\":\"p\",\"engine\":\"postgres\"}", "u", "p");
    assert_login("{\"password\":\"p\"}", NULL, "p");
    assert_login("{\"username\":null,\"password\":\"p\"}", NULL, "p");
    assert_login("p w {\"", NULL, "p w {\"");
    assert_login("12345", NULL, "12345");
    assert_login("[\"password\"]", NULL, "[\"password\"]");
}

static void test_a_login_needs_a_password(void **state)
{
    static const char *const values[] = {
        "",
        "{}",
        "{\"username\":\"u\"}",
        "{\"password\":\"\"}",
        "{\"password\":7}",
        "{\"username\":7,\"password\":\"p\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char *user = NULL;
        char *password = NULL;
        struct error err = {0};

        assert_int_equal(secret_read_login(values[i], strlen(values[i]), &user, &password, &err),
                         INVALID);
        assert_null(user);
        assert_null(password);
        assert_non_null(strstr(err.text, "the secret"));
    }
}

static void test_a_member_is_one_or_the_whole_text(void **state)
{
    const char *object = "{\"jwt_secret\":\"k\"}";
    char *out = NULL;

    (void)state;
    assert_int_equal(secret_read_member(object, strlen(object), "jwt_secret", &out, NULL), OK);
    assert_string_equal(out, "k");
    secret_free(out);
    assert_int_equal(secret_read_member("text", 4, "jwt_secret", &out, NULL), OK);
    assert_string_equal(out, "text");
    secret_free(out);
    out = NULL;
    assert_int_equal(secret_read_member(object, strlen(object), "other", &out, NULL), INVALID);
    assert_null(out);
}

/* Nothing is asked of anybody. */
static void test_a_request_that_cannot_be_signed_is_none(void **state)
{
    static char empty[] = "", key[] = "AKID", region[] = "us-east-1", bad[] = "no-url";
    struct config config = {.aws_access_key_id = empty,
                            .aws_secret_access_key = key,
                            .aws_session_token = empty,
                            .aws_region = region,
                            .secrets_endpoint = empty,
                            .tls_ca_file = empty};
    struct error err = {0};
    struct buf value;

    (void)state;
    buf_init(&value, 64);
    assert_int_equal(secret_fetch(&config, "name", NULL, &value, &err), INVALID);
    assert_non_null(strstr(err.text, "aws_access_key_id"));
    config.aws_access_key_id = key;
    assert_int_equal(secret_fetch(&config, "arn:aws:secretsmanager:evil.example/:1:secret:n", NULL,
                                  &value, &err),
                     INVALID);
    assert_non_null(strstr(err.text, "region"));
    config.secrets_endpoint = bad;
    assert_int_equal(secret_fetch(&config, "name", NULL, &value, &err), INVALID);
    assert_non_null(strstr(err.text, "secrets_endpoint"));
    secret_done(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_value_is_the_secret_string),
        cmocka_unit_test(test_what_has_none_is_an_error),
        cmocka_unit_test(test_one_that_is_too_large_is_an_error),
        cmocka_unit_test(test_a_refusal_says_what_to_look_at),
        cmocka_unit_test(test_a_login_is_json_or_a_password_alone),
        cmocka_unit_test(test_a_login_needs_a_password),
        cmocka_unit_test(test_a_member_is_one_or_the_whole_text),
        cmocka_unit_test(test_a_request_that_cannot_be_signed_is_none),
    };

    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of RDS, against botocore's (sigv4_vectors.py), and the settings around them.
 */
#include "database_auth.h"

#include "buf.h"
#include "config.h"
#include "sigv4_vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    (void)state;
    return clearenv();
}

/* The settings that count here; config_done frees them. */
static struct config settings(const char *auth, const char *url)
{
    return (struct config){
        .database_auth = mem_strdup(auth),
        .database_url = mem_strdup(url),
        .database_secret_arn = mem_strdup(""),
        .aws_access_key_id = mem_strdup(VECTOR_KEY),
        .aws_secret_access_key = mem_strdup(VECTOR_SECRET),
        .aws_session_token = mem_strdup(""),
        .aws_region = mem_strdup("us-east-1"),
    };
}

static void set(char **member, const char *value)
{
    free(*member);
    *member = mem_strdup(value);
}

static void assert_token(const struct config *config, const char *expected)
{
    struct error err = {0};
    struct buf token;

    buf_init(&token, 4096);
    if (database_auth_token(config, VECTOR_NOW, &token, &err) != OK)
        fail_msg("%s", err.text);
    assert_string_equal(buf_str(&token), expected);
    buf_done(&token);
}

static void assert_invalid(struct config config, const char *part)
{
    struct error err = {0};

    assert_int_equal(database_auth_check(&config, &err), INVALID);
    if (!strstr(err.text, part))
        fail_msg("\"%s\" is not in: %s", part, err.text);
    config_done(&config);
}

static void test_tokens_are_those_of_botocore(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(token_vectors); i++) {
        const struct token_vector *vector = &token_vectors[i];
        struct config config = settings("iam", "");
        struct buf url;

        buf_init(&url, 4096);
        buf_addf(&url, "host=%s port=%s user='", vector->host, vector->port);
        for (const char *c = vector->user; *c; c++)
            buf_addf(&url, *c == '\'' ? "\\%c" : "%c", *c);
        buf_adds(&url, "' dbname=x sslmode=verify-full");
        set(&config.database_url, buf_str(&url));
        set(&config.aws_region, vector->region);
        if (vector->session_token)
            set(&config.aws_session_token, vector->session_token);
        assert_int_equal(database_auth_check(&config, NULL), OK);
        assert_token(&config, vector->token);
        buf_done(&url);
        config_done(&config);
    }
}

static void test_a_token_is_for_what_the_connection_string_and_the_environment_say(void **state)
{
    const struct token_vector *vector = &token_vectors[0];
    struct config config = settings("iam", "");
    struct buf url;

    (void)state;
    set(&config.aws_region, vector->region);
    buf_init(&url, 4096);
    /* The first of several hosts; the default port. */
    buf_addf(&url, "postgresql://%s:ignored@%s,other/db?sslmode=require", vector->user,
             vector->host);
    set(&config.database_url, buf_str(&url));
    assert_token(&config, vector->token);
    /* A name alone is a database's. */
    setenv("PGHOST", vector->host, 1);
    setenv("PGUSER", vector->user, 1);
    set(&config.database_url, "db");
    assert_token(&config, vector->token);
    set(&config.database_url, "");
    assert_token(&config, vector->token);
    setenv("PGSSLMODE", "disable", 1);
    assert_int_equal(database_auth_check(&config, NULL), INVALID);
    buf_done(&url);
    config_done(&config);
}

static void test_settings_that_do_not_fit_are_refused(void **state)
{
    struct config config;

    (void)state;
    assert_invalid(settings("iam", "postgresql://u@h/d?sslmode=disable"), "needs TLS");
    assert_invalid(settings("iam", "host=/run/postgresql user=u"), "needs the host");
    assert_invalid(settings("iam", "user=u"), "needs the host");
    assert_invalid(settings("iam", "service=x"), "names a service");
    assert_invalid(settings("secret", ""), "database_secret_arn");
    config = settings("iam", "postgresql://u:hidden@h:port=/%zz");
    assert_invalid(config, "cannot be read");
    config = settings("iam", "postgresql://u@h/d");
    set(&config.aws_access_key_id, "");
    assert_invalid(config, "AWS_ACCESS_KEY_ID");
    config = settings("secret", "");
    set(&config.database_secret_arn, "arn:aws:secretsmanager:us-east-1:1:secret:n");
    set(&config.aws_secret_access_key, "");
    assert_invalid(config, "AWS_SECRET_ACCESS_KEY");
    config = settings("password", "postgresql://u@h/d?sslmode=disable");
    set(&config.aws_access_key_id, "");
    assert_int_equal(database_auth_check(&config, NULL), OK);
    config_done(&config);
}

static void test_a_token_that_does_not_fit_is_none(void **state)
{
    struct config config = settings("iam", "");
    struct error err = {0};
    struct buf token, url;

    (void)state;
    buf_init(&token, 4096);
    buf_init(&url, 4096);
    buf_adds(&url, "host=h user=");
    for (int i = 0; i < 600; i++)
        buf_addc(&url, 'u');
    set(&config.database_url, buf_str(&url));
    assert_int_equal(database_auth_token(&config, VECTOR_NOW, &token, &err), INVALID);
    buf_done(&url);
    buf_done(&token);
    config_done(&config);
}

static void test_only_a_refused_login_has_a_cause(void **state)
{
    struct config config = settings("iam", "");
    struct error err = {.status = UNAVAILABLE, .sqlstate = "57P03"};

    (void)state;
    assert_null(database_auth_cause(&config, &err));
    memcpy(err.sqlstate, "28000", 6);
    assert_non_null(strstr(database_auth_cause(&config, &err), "rds_iam"));
    set(&config.database_auth, "secret");
    assert_non_null(strstr(database_auth_cause(&config, &err), "rotated"));
    set(&config.database_auth, "password");
    assert_non_null(strstr(database_auth_cause(&config, &err), "pg_hba.conf"));
    config_done(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tokens_are_those_of_botocore, setup),
        cmocka_unit_test_setup(
            test_a_token_is_for_what_the_connection_string_and_the_environment_say, setup),
        cmocka_unit_test_setup(test_settings_that_do_not_fit_are_refused, setup),
        cmocka_unit_test_setup(test_a_token_that_does_not_fit_is_none, setup),
        cmocka_unit_test_setup(test_only_a_refused_login_has_a_cause, setup),
    };

    return cmocka_run_group_tests_name("database_auth", tests, NULL, NULL);
}

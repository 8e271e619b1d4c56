/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libpq says, as libpq 15 says it.
 */
#include "pg_errors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <string.h>

static void test_several_lines_become_one_without_the_advice(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(pg_fail(&err, UNAVAILABLE,
                             "connection to server at \"127.0.0.1\", port 1 failed: refused\n"
                             "\tIs the server running on that host?\n\nsecond\n"),
                     UNAVAILABLE);
    assert_string_equal(err.text,
                        "connection to server at \"127.0.0.1\", port 1 failed: refused second");
    assert_string_equal(err.sqlstate, "");
    assert_int_equal(err.status, UNAVAILABLE);
    assert_int_equal(pg_fail(NULL, LIMIT, "x"), LIMIT);
}

static void test_the_texts_of_statements_stay_as_they_are(void **state)
{
    struct error err = {0};

    (void)state;
    (void)pg_fail(&err, INTERNAL, "a:  28P01: b, c.c:7\nd");
    assert_string_equal(err.text, "a:  28P01: b, c.c:7 d");
    assert_string_equal(err.sqlstate, "");
}

static void test_a_refusal_gives_its_sqlstate(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(
        pg_fail_refused(&err, UNAVAILABLE,
                        "connection to server at \"db\" (::1), port 5432 failed: FATAL:  28P01: "
                        "password authentication failed for user \"u\"\n"
                        "LOCATION:  auth_failed, auth.c:323\n"),
        UNAVAILABLE);
    assert_string_equal(err.text, "connection to server at \"db\" (::1), port 5432 failed: FATAL: "
                                  "password authentication failed for user \"u\"");
    assert_string_equal(err.sqlstate, "28P01");
}

static void test_of_several_attempts_the_last_one_counts(void **state)
{
    struct error err = {0};

    (void)state;
    (void)pg_fail_refused(&err, UNAVAILABLE,
                          "a failed: FATAL:  28000: no entry\nORT:  ClientAuthentication, "
                          "auth.c:543\nb failed: FATAL:  57P03: starting up\nLOCATION:  "
                          "ProcessStartupPacket, postmaster.c:2391");
    assert_string_equal(err.text, "a failed: FATAL: no entry b failed: FATAL: starting up");
    assert_string_equal(err.sqlstate, "57P03");
}

static void test_what_only_looks_like_one_is_text(void **state)
{
    static const char *const texts[] = {
        "FATAL:  28p01: lower case", "FATAL:  28P0: short",
        "FATAL:  28P012: long",      "FATAL: 28P01: one blank",
        "FATAL:  28P01:no blank",    "FATAL:  28P01",
        "LOCATION:  no place in it", "LOCATION:  f, auth.c:",
        "LOCATION:  f, auth.h:12",   ":  A",
        "LOCATION:  f auth.c:12",    "f, auth.c:12",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct error err = {0};

        (void)pg_fail_refused(&err, UNAVAILABLE, texts[i]);
        assert_string_equal(err.text, texts[i]);
        assert_string_equal(err.sqlstate, "");
    }
}

static void test_a_long_text_is_cut(void **state)
{
    struct error err = {0};
    char text[4096];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)pg_fail(&err, UNAVAILABLE, text);
    assert_true(strlen(err.text) < ERROR_TEXT_BYTES);
    (void)pg_fail_refused(&err, UNAVAILABLE, text);
    assert_true(strlen(err.text) < ERROR_TEXT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_lines_become_one_without_the_advice),
        cmocka_unit_test(test_the_texts_of_statements_stay_as_they_are),
        cmocka_unit_test(test_a_refusal_gives_its_sqlstate),
        cmocka_unit_test(test_of_several_attempts_the_last_one_counts),
        cmocka_unit_test(test_what_only_looks_like_one_is_text),
        cmocka_unit_test(test_a_long_text_is_cut),
    };

    return cmocka_run_group_tests_name("pg_errors", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base.c - statuses, errors, memory, clocks, UTF-8.
 */
#include "base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>
#undef fail /* ours is meant */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>

static void test_every_status_has_its_own_word(void **state)
{
    (void)state;
    for (enum status a = OK; a <= INTERNAL; a++) {
        assert_string_not_equal(status_name(a), "unknown");
        for (enum status b = OK; b < a; b++)
            assert_string_not_equal(status_name(a), status_name(b));
    }
}

static void test_fail_fills_the_error_and_returns_the_status(void **state)
{
    struct error err = {.sqlstate = "23505"};

    (void)state;
    assert_int_equal(fail(&err, LIMIT, "%d is more than %d", 3, 2), LIMIT);
    assert_int_equal(err.status, LIMIT);
    assert_string_equal(err.text, "3 is more than 2");
    assert_string_equal(err.sqlstate, "");
}

static void test_fail_without_an_error_struct_only_returns_the_status(void **state)
{
    (void)state;
    assert_int_equal(fail(NULL, GONE, "nobody reads this"), GONE);
}

static void test_fail_may_have_the_old_text_as_argument(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(fail(&err, INVALID, "inner"), INVALID);
    assert_int_equal(fail(&err, INTERNAL, "outer (%s)", err.text), INTERNAL);
    assert_string_equal(err.text, "outer (inner)");
}

static void test_context_goes_in_front_and_keeps_status_and_sqlstate(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(fail(&err, UNAVAILABLE, "connection refused"), UNAVAILABLE);
    memcpy(err.sqlstate, "08006", 6);
    assert_int_equal(fail_context(&err, "opening %s", "db"), UNAVAILABLE);
    assert_string_equal(err.text, "opening db: connection refused");
    assert_string_equal(err.sqlstate, "08006");
}

static void test_a_long_text_is_cut_at_the_end_and_never_in_front(void **state)
{
    char text[ERROR_TEXT_BYTES * 2];
    struct error err;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(fail(&err, INVALID, "%s", text), INVALID);
    assert_int_equal(strlen(err.text), ERROR_TEXT_BYTES - 1);
    assert_int_equal(fail_context(&err, "first"), INVALID);
    assert_memory_equal(err.text, "first: xxx", 10);
    assert_int_equal(strlen(err.text), ERROR_TEXT_BYTES - 1);
    assert_int_equal(fail_context(&err, "%s", text), INVALID);
    assert_int_equal(strlen(err.text), ERROR_TEXT_BYTES - 1);
    assert_memory_equal(err.text, "xxx", 3);
}

static void test_allocated_memory_is_zero_and_sizes_may_be_zero(void **state)
{
    char *bytes = mem_alloc(100);
    char *none = mem_alloc(0);

    (void)state;
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(bytes[i], 0);
    assert_non_null(none);
    none = mem_realloc(none, 0);
    assert_non_null(none);
    free(none);
    free(bytes);
}

static void test_strings_are_copied_and_null_stays_null(void **state)
{
    char *all = mem_strdup("gateway");
    char *some = mem_strndup("gateway", 4);
    char *none = mem_strndup(NULL, 0);

    (void)state;
    assert_string_equal(all, "gateway");
    assert_string_equal(some, "gate");
    assert_string_equal(none, "");
    assert_null(mem_strdup(NULL));
    free(all);
    free(some);
    free(none);
}

static void test_memory_that_cannot_be_had_aborts_with_a_message(void **state)
{
    int pipes[2];
    char text[200] = "";
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        size_t too_much = SIZE_MAX / 2;

        dup2(pipes[1], STDERR_FILENO);
        /* Sanitizers have their own way to say no; theirs aborts as well. */
        _exit(mem_realloc(NULL, too_much) ? 0 : 1);
    }
    close(pipes[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(read(pipes[0], text, sizeof(text) - 1) > 0);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(pipes[0]);
}

static void test_clocks_agree_on_their_units(void **state)
{
    int64_t ms = clock_mono_ms();
    int64_t us = clock_mono_us();

    (void)state;
    assert_true(us / 1000 >= ms && us / 1000 - ms < 10000);
    assert_true(clock_unix_ms() > 1700000000000);
    assert_true(clock_mono_us() >= us);
}

static void test_random_bytes_differ_and_fill_everything(void **state)
{
    unsigned char a[512] = {0};
    unsigned char b[512] = {0};
    size_t zeros = 0;

    (void)state;
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++)
        zeros += a[i] == 0;
    assert_true(zeros < 32);
    random_bytes(a, 0);
}

static void test_a_utf8_character_has_one_to_four_bytes(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {"a", 1},
        {"\x7f", 1},
        {"\xC2\x80", 2},
        {"\xDF\xBF", 2},
        {"\xE0\xA0\x80", 3},
        {"\xED\x9F\xBF", 3},
        {"\xEE\x80\x80", 3},
        {"\xEF\xBF\xBF", 3},
        {"\xF0\x90\x80\x80", 4},
        {"\xF4\x8F\xBF\xBF", 4},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(utf8_char_len(cases[i].text, strlen(cases[i].text)), cases[i].len);
        for (size_t cut = 0; cut < cases[i].len; cut++)
            assert_int_equal(utf8_char_len(cases[i].text, cut), 0);
    }
    assert_int_equal(utf8_char_len("", 1), 1); /* a NUL is a character */
}

static void test_what_is_no_utf8_character_has_no_length(void **state)
{
    static const char *const cases[] = {
        "\x80",             /* a continuation */
        "\xBF",             /* the last one */
        "\xC0\x80",         /* overlong */
        "\xC1\xBF",         /* overlong */
        "\xC2\x41",         /* no continuation */
        "\xE0\x9F\xBF",     /* overlong */
        "\xED\xA0\x80",     /* surrogate */
        "\xED\xBF\xBF",     /* surrogate */
        "\xE1\x80\xC0",     /* third byte */
        "\xF0\x8F\xBF\xBF", /* overlong */
        "\xF4\x90\x80\x80", /* past the end */
        "\xF1\x80\x80\x7F", /* fourth byte */
        "\xF5\x80\x80\x80",
        "\xFE",
        "\xFF",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(utf8_char_len(cases[i], strlen(cases[i])), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_has_its_own_word),
        cmocka_unit_test(test_fail_fills_the_error_and_returns_the_status),
        cmocka_unit_test(test_fail_without_an_error_struct_only_returns_the_status),
        cmocka_unit_test(test_fail_may_have_the_old_text_as_argument),
        cmocka_unit_test(test_context_goes_in_front_and_keeps_status_and_sqlstate),
        cmocka_unit_test(test_a_long_text_is_cut_at_the_end_and_never_in_front),
        cmocka_unit_test(test_allocated_memory_is_zero_and_sizes_may_be_zero),
        cmocka_unit_test(test_strings_are_copied_and_null_stays_null),
        cmocka_unit_test(test_memory_that_cannot_be_had_aborts_with_a_message),
        cmocka_unit_test(test_clocks_agree_on_their_units),
        cmocka_unit_test(test_random_bytes_differ_and_fill_everything),
        cmocka_unit_test(test_a_utf8_character_has_one_to_four_bytes),
        cmocka_unit_test(test_what_is_no_utf8_character_has_no_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

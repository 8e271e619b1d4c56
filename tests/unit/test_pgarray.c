/* SPDX-License-Identifier: Apache-2.0 */
#include "pgarray.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_texts_are_quoted_and_escaped(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    pgarray_begin(&out);
    pgarray_add(&out, "plain");
    pgarray_add(&out, "");
    pgarray_add(&out, "NULL");
    pgarray_add(&out, "a\"b\\c{d},e");
    pgarray_add(&out, NULL);
    pgarray_end(&out);
    assert_string_equal(buf_str(&out), "{\"plain\",\"\",\"NULL\",\"a\\\"b\\\\c{d},e\",NULL}");
    buf_done(&out);
}

static void test_a_text_that_ends_in_a_brace_still_gets_its_comma(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    pgarray_begin(&out);
    pgarray_add(&out, "{");
    pgarray_add(&out, "{");
    pgarray_end(&out);
    assert_string_equal(buf_str(&out), "{\"{\",\"{\"}");
    buf_done(&out);
}

static void test_integers_and_no_items(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    pgarray_begin(&out);
    pgarray_end(&out);
    assert_string_equal(buf_str(&out), "{}");
    buf_clear(&out);
    pgarray_begin(&out);
    pgarray_add_int(&out, -1);
    pgarray_add_int(&out, INT64_MAX);
    pgarray_end(&out);
    assert_string_equal(buf_str(&out), "{-1,9223372036854775807}");
    buf_done(&out);
}

static void test_a_list_loses_blanks_and_empty_items(void **state)
{
    static const struct {
        const char *list;
        const char *array;
    } cases[] = {
        {"", "{}"},
        {"app", "{\"app\"}"},
        {" app , b ", "{\"app\",\"b\"}"},
        {",,a,,", "{\"a\"}"},
        {"a b", "{\"a b\"}"},
        {" , ", "{}"},
        {"\"q", "{\"\\\"q\"}"},
    };
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&out);
        pgarray_begin(&out);
        pgarray_add_list(&out, cases[i].list);
        pgarray_end(&out);
        assert_string_equal(buf_str(&out), cases[i].array);
    }
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_quoted_and_escaped),
        cmocka_unit_test(test_a_text_that_ends_in_a_brace_still_gets_its_comma),
        cmocka_unit_test(test_integers_and_no_items),
        cmocka_unit_test(test_a_list_loses_blanks_and_empty_items),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

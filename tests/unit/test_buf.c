/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_buf.c - the growing buffer and its limit.
 */
#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void test_a_new_buffer_has_no_storage_and_an_empty_string(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 10);
    assert_null(buf.data);
    assert_string_equal(buf_str(&buf), "");
    assert_false(buf_full(&buf));
    buf_done(&buf);
}

static void test_what_is_added_stands_in_order(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 100);
    buf_adds(&buf, "a=");
    buf_addc(&buf, '1');
    buf_add(&buf, ", b=xyz", 4);
    buf_addf(&buf, "%d%s", 2, "!");
    assert_string_equal(buf_str(&buf), "a=1, b=2!");
    assert_int_equal(buf.len, 9);
    buf_done(&buf);
}

static void test_the_limit_may_be_reached_exactly(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 5);
    buf_adds(&buf, "12345");
    assert_false(buf_full(&buf));
    assert_string_equal(buf_str(&buf), "12345");
    buf_add(&buf, "", 0);
    assert_false(buf_full(&buf));
    buf_addc(&buf, '6');
    assert_true(buf_full(&buf));
    assert_string_equal(buf_str(&buf), "12345");
    buf_done(&buf);
}

static void test_an_add_that_crosses_the_limit_adds_nothing_and_full_stays(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 5);
    buf_adds(&buf, "123");
    buf_adds(&buf, "456");
    assert_true(buf_full(&buf));
    buf_adds(&buf, "4");
    buf_addf(&buf, "%d", 5);
    assert_string_equal(buf_str(&buf), "123");
    buf_clear(&buf);
    assert_false(buf_full(&buf));
    buf_adds(&buf, "abcde");
    assert_string_equal(buf_str(&buf), "abcde");
    buf_done(&buf);
}

static void test_a_limit_of_nothing_takes_nothing(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 0);
    buf_adds(&buf, "");
    assert_false(buf_full(&buf));
    buf_addc(&buf, 'x');
    assert_true(buf_full(&buf));
    assert_string_equal(buf_str(&buf), "");
    buf_done(&buf);
}

static void test_a_huge_limit_costs_nothing_until_used(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, SIZE_MAX);
    for (int i = 0; i < 1000; i++)
        buf_adds(&buf, "0123456789");
    assert_int_equal(buf.len, 10000);
    assert_true(buf.cap < 40000);
    buf_done(&buf);
}

static void test_storage_never_grows_past_the_limit_and_its_nul(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 100);
    for (int i = 0; i < 100; i++)
        buf_addc(&buf, 'x');
    assert_int_equal(buf.len, 100);
    assert_true(buf.cap <= 101);
    buf_done(&buf);
}

static void test_a_long_formatted_text_is_complete(void **state)
{
    char text[1000];
    struct buf buf;

    (void)state;
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    buf_init(&buf, 2000);
    buf_addf(&buf, "<%s>", text);
    assert_int_equal(buf.len, 1001);
    assert_int_equal(buf_str(&buf)[1000], '>');
    buf_addf(&buf, "<%s>", text);
    assert_true(buf_full(&buf));
    assert_int_equal(buf.len, 1001);
    buf_done(&buf);
}

static void test_reserved_room_is_used_as_far_as_committed(void **state)
{
    struct buf buf;
    char *at;

    (void)state;
    buf_init(&buf, 300);
    buf_adds(&buf, "ab");
    at = buf_reserve(&buf, 298);
    assert_non_null(at);
    memcpy(at, "cde", 3);
    buf_commit(&buf, 3);
    assert_string_equal(buf_str(&buf), "abcde");
    assert_null(buf_reserve(&buf, 296));
    assert_true(buf_full(&buf));
    assert_null(buf_reserve(&buf, 1));
    buf_done(&buf);
}

static void test_bytes_in_front_can_be_forgotten(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 10);
    buf_adds(&buf, "0123456789");
    buf_drop_front(&buf, 0);
    buf_drop_front(&buf, 4);
    assert_string_equal(buf_str(&buf), "456789");
    buf_adds(&buf, "abcd");
    assert_string_equal(buf_str(&buf), "456789abcd");
    buf_drop_front(&buf, 10);
    assert_string_equal(buf_str(&buf), "");
    buf_done(&buf);
}

static void test_taken_text_is_the_callers_and_the_buffer_is_empty(void **state)
{
    struct buf buf;
    char *text;

    (void)state;
    buf_init(&buf, 10);
    text = buf_take(&buf);
    assert_string_equal(text, "");
    free(text);
    buf_adds(&buf, "mine");
    text = buf_take(&buf);
    assert_string_equal(text, "mine");
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf.limit, 10);
    buf_adds(&buf, "other");
    assert_string_equal(text, "mine");
    free(text);
    buf_done(&buf);
}

static void test_bytes_may_be_nul(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 10);
    buf_add(&buf, "a\0b", 3);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf_str(&buf), "a\0b", 4);
    buf_done(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_buffer_has_no_storage_and_an_empty_string),
        cmocka_unit_test(test_what_is_added_stands_in_order),
        cmocka_unit_test(test_the_limit_may_be_reached_exactly),
        cmocka_unit_test(test_an_add_that_crosses_the_limit_adds_nothing_and_full_stays),
        cmocka_unit_test(test_a_limit_of_nothing_takes_nothing),
        cmocka_unit_test(test_a_huge_limit_costs_nothing_until_used),
        cmocka_unit_test(test_storage_never_grows_past_the_limit_and_its_nul),
        cmocka_unit_test(test_a_long_formatted_text_is_complete),
        cmocka_unit_test(test_reserved_room_is_used_as_far_as_committed),
        cmocka_unit_test(test_bytes_in_front_can_be_forgotten),
        cmocka_unit_test(test_taken_text_is_the_callers_and_the_buffer_is_empty),
        cmocka_unit_test(test_bytes_may_be_nul),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

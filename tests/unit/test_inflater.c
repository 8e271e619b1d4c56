/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
#include "inflater.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

/* RFC 7692, section 7.2.3: the same text in the ways in which it may be compressed. */
static const struct {
    const char *data;
    size_t len;
} hellos[] = {
    {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7},                          /* 7.2.3.1 */
    {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11},         /* 7.2.3.3 */
    {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8},                      /* 7.2.3.4 */
    {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13}, /* 7.2.3.5 */
};

static void test_the_examples_of_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hellos); i++) {
        struct inflater *inflater = inflater_create();
        struct buf out;

        buf_init(&out, 5);
        assert_int_equal(inflater_add(inflater, hellos[i].data, hellos[i].len, true, &out), OK);
        assert_string_equal(buf_str(&out), "Hello");
        buf_done(&out);
        inflater_free(inflater);
    }
}

/* 7.2.3.2: the second "Hello" refers to the first. */
static void test_a_message_may_refer_to_the_one_before(void **state)
{
    struct inflater *inflater = inflater_create();
    struct buf out;

    (void)state;
    buf_init(&out, 100);
    assert_int_equal(inflater_add(inflater, hellos[0].data, hellos[0].len, true, &out), OK);
    assert_int_equal(inflater_add(inflater, "\xf2\x00\x11\x00\x00", 5, true, &out), OK);
    assert_string_equal(buf_str(&out), "HelloHello");
    buf_done(&out);
    inflater_free(inflater);
}

static void test_parts_may_be_cut_anywhere(void **state)
{
    struct inflater *inflater = inflater_create();
    struct buf out;

    (void)state;
    buf_init(&out, 100);
    for (size_t i = 0; i < ARRAY_LEN(hellos); i++) {
        for (size_t at = 0; at < hellos[i].len; at++)
            assert_int_equal(inflater_add(inflater, hellos[i].data + at, 1, false, &out), OK);
        assert_int_equal(inflater_add(inflater, "", 0, true, &out), OK);
    }
    assert_string_equal(buf_str(&out), "HelloHelloHelloHello");
    buf_done(&out);
    inflater_free(inflater);
}

static void test_one_byte_more_than_there_is_room_for_is_refused(void **state)
{
    struct inflater *inflater = inflater_create();
    struct buf out;

    (void)state;
    buf_init(&out, 4);
    assert_int_equal(inflater_add(inflater, hellos[0].data, hellos[0].len, true, &out), LIMIT);
    assert_true(out.len <= 4);
    buf_done(&out);
    inflater_free(inflater);
}

static void test_what_is_not_compressed_is_invalid(void **state)
{
    struct inflater *inflater = inflater_create();
    struct buf out;

    (void)state;
    buf_init(&out, 100);
    assert_int_equal(inflater_add(inflater, "\xff\xff\xff", 3, true, &out), INVALID);
    buf_done(&out);
    inflater_free(inflater);
    inflater_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_examples_of_the_rfc),
        cmocka_unit_test(test_a_message_may_refer_to_the_one_before),
        cmocka_unit_test(test_parts_may_be_cut_anywhere),
        cmocka_unit_test(test_one_byte_more_than_there_is_room_for_is_refused),
        cmocka_unit_test(test_what_is_not_compressed_is_invalid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 70000 };

/* A frame whose payload is a pattern; the caller frees it. */
static char *make(unsigned first, size_t len, size_t *frame_len)
{
    unsigned char head[FRAME_HEAD_BYTES];
    size_t head_len = frame_write_head(head, first, len);
    char *frame = mem_alloc(head_len + len);

    memcpy(frame, head, head_len);
    for (size_t i = 0; i < len; i++)
        frame[head_len + i] = (char)(i * 7 + i / 251);
    *frame_len = head_len + len;
    return frame;
}

static void test_a_head_has_the_three_lengths(void **state)
{
    static const struct {
        size_t len;
        size_t head_len;
        const char *head;
    } cases[] = {
        {0, 2, "\x81\0"},
        {125, 2, "\x81\x7d"},
        {126, 4, "\x81\x7e\0\x7e"},
        {65535, 4, "\x81\x7e\xff\xff"},
        {65536, 10, "\x81\x7f\0\0\0\0\0\x01\0\0"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned char head[FRAME_HEAD_BYTES];

        assert_int_equal(frame_write_head(head, FRAME_FIN | FRAME_TEXT, cases[i].len),
                         cases[i].head_len);
        assert_memory_equal(head, cases[i].head, cases[i].head_len);
        assert_int_equal(frame_size((const char *)head), cases[i].head_len + cases[i].len);
    }
}

static void test_what_is_no_larger_stays_whole(void **state)
{
    size_t len;
    char *frame = make(FRAME_FIN | FRAME_TEXT, 100, &len);
    struct frame_cut cut;

    (void)state;
    frame_cut(frame, 100, &cut);
    assert_ptr_equal(cut.first, frame);
    assert_int_equal(cut.first_len, len);
    assert_null(cut.rest);
    free(frame);
}

static void test_a_ping_is_never_cut(void **state)
{
    char ping[] = "\x89\x02sb";
    struct frame_cut cut;

    (void)state;
    frame_cut(ping, 1, &cut);
    assert_null(cut.rest);
    assert_int_equal(cut.first_len, 4);
    assert_memory_equal(ping, "\x89\x02sb", 4);
}

/* Cuts and joins; *parts says of how many there were. */
static void send_all(char *frame, size_t most, char *joined, size_t *joined_len, unsigned *parts)
{
    struct frame_cut cut;

    *joined_len = 0;
    *parts = 0;
    for (char *at = frame; at; at = cut.rest ? frame_continue(&cut) : NULL) {
        size_t payload;

        frame_cut(at, most, &cut);
        assert_int_equal(cut.first_len, frame_size(cut.first));
        assert_int_equal((unsigned char)cut.first[0],
                         (cut.rest ? 0u : FRAME_FIN) | (*parts ? 0u : FRAME_TEXT));
        payload = cut.first_len - (cut.first_len > 65536 + 9 ? 10 : cut.first_len > 127 ? 4 : 2);
        assert_true(payload <= most);
        memcpy(joined + *joined_len, cut.first + cut.first_len - payload, payload);
        *joined_len += payload;
        ++*parts;
    }
}

static void test_fragments_together_are_the_message(void **state)
{
    static const size_t lens[] = {2, 125, 126, 127, 1000, 65535, 65536, LONGEST};
    static const size_t mosts[] = {1, 2, 9, 125, 126, 512, 32768, 65535, 65536};
    char *joined = mem_alloc(LONGEST);

    (void)state;
    for (size_t l = 0; l < ARRAY_LEN(lens); l++) {
        for (size_t m = 0; m < ARRAY_LEN(mosts); m++) {
            size_t frame_len, joined_len;
            unsigned parts;
            char *frame = make(FRAME_FIN | FRAME_TEXT, lens[l], &frame_len);
            char *wanted = mem_alloc(lens[l]);

            memcpy(wanted, frame + frame_len - lens[l], lens[l]);
            send_all(frame, mosts[m], joined, &joined_len, &parts);
            assert_int_equal(joined_len, lens[l]);
            assert_memory_equal(joined, wanted, lens[l]);
            assert_int_equal(parts, (lens[l] + mosts[m] - 1) / mosts[m]);
            free(wanted);
            free(frame);
        }
    }
    free(joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_has_the_three_lengths),
        cmocka_unit_test(test_what_is_no_larger_stays_whole),
        cmocka_unit_test(test_a_ping_is_never_cut),
        cmocka_unit_test(test_fragments_together_are_the_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

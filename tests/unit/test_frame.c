/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
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
    struct buf out;

    (void)state;
    buf_init(&out, SIZE_MAX);
    assert_false(frame_is_longer(frame, len, 100));
    assert_true(frame_is_longer(frame, len, 99));
    frame_cut(frame, len, 100, &out);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, frame, len);
    buf_done(&out);
    free(frame);
}

static void test_a_ping_is_never_cut(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, SIZE_MAX);
    frame_cut("\x89\x02sb", 4, 1, &out);
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, "\x89\x02sb", 4);
    buf_done(&out);
}

/* Joins the fragments at data; *parts says how many there were. */
static size_t join(const char *data, size_t len, size_t most, char *joined, unsigned *parts)
{
    size_t joined_len = 0;
    size_t size;

    *parts = 0;
    for (size_t at = 0; at < len; at += size) {
        bool is_last;
        size_t payload;

        size = frame_size(data + at);
        is_last = at + size == len;
        assert_int_equal((unsigned char)data[at],
                         (is_last ? FRAME_FIN : 0u) | (*parts ? 0u : FRAME_TEXT));
        payload = size - (size > 65535 + 4 ? 10 : size > 127 ? 4 : 2);
        assert_true(payload <= most);
        memcpy(joined + joined_len, data + at + size - payload, payload);
        joined_len += payload;
        ++*parts;
    }
    return joined_len;
}

static void check_fragments(size_t len, size_t most, char *joined)
{
    size_t frame_len;
    unsigned parts;
    char *frame = make(FRAME_FIN | FRAME_TEXT, len, &frame_len);
    struct buf out;

    buf_init(&out, SIZE_MAX);
    frame_cut(frame, frame_len, most, &out);
    assert_int_equal(join(out.data, out.len, most, joined, &parts), len);
    assert_memory_equal(joined, frame + frame_len - len, len);
    assert_int_equal(parts, (len + most - 1) / most);
    assert_false(frame_is_longer(out.data, out.len, most));
    buf_done(&out);
    free(frame);
}

static void test_fragments_together_are_the_message(void **state)
{
    static const size_t lens[] = {2, 125, 126, 127, 1000, 65535, 65536, LONGEST};
    static const size_t mosts[] = {1, 2, 9, 125, 126, 512, 32768, 65535, 65536};
    char *joined = mem_alloc(LONGEST);

    (void)state;
    for (size_t l = 0; l < ARRAY_LEN(lens); l++)
        for (size_t m = 0; m < ARRAY_LEN(mosts); m++)
            check_fragments(lens[l], mosts[m], joined);
    free(joined);
}

static void test_what_is_cut_already_is_left_alone(void **state)
{
    struct buf once, twice;

    (void)state;
    buf_init(&once, SIZE_MAX);
    buf_init(&twice, SIZE_MAX);
    frame_cut("\x81\x05hello\x89\x01p\x81\x02no", 14, 2, &once);
    assert_int_equal(once.len, 18);
    assert_memory_equal(once.data, "\x01\x02he\x00\x02ll\x80\x01o\x89\x01p\x81\x02no", 18);
    frame_cut(once.data, once.len, 2, &twice);
    assert_int_equal(twice.len, once.len);
    assert_memory_equal(twice.data, once.data, once.len);
    buf_done(&once);
    buf_done(&twice);
}

/* ---- close frames ---- */

static void test_a_close_frame_has_code_and_reason(void **state)
{
    char reason[201];
    struct buf out;

    (void)state;
    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    buf_init(&out, SIZE_MAX);
    frame_write_close(&out, 1000, "bye");
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data,
                        "\x88\x05\x03\xe8"
                        "bye",
                        7);
    buf_clear(&out);
    frame_write_close(&out, FRAME_CODE_NONE, "nothing to say");
    assert_int_equal(out.len, 2);
    assert_memory_equal(out.data, "\x88\x00", 2);
    buf_clear(&out);
    frame_write_close(&out, 4000, reason);
    assert_int_equal(out.len, 127);
    buf_done(&out);
}

static int code_of(int code)
{
    const char payload[2] = {(char)(code >> 8), (char)code};
    struct frame_close close;

    frame_read_close(payload, sizeof(payload), &close);
    return close.code;
}

/* 1012 to 1014 were registered after the RFC. */
static void test_codes_that_must_not_be_sent_are_an_error_of_protocol(void **state)
{
    (void)state;
    for (int code = 0; code <= 65535; code++) {
        bool is_good = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                       (code >= 3000 && code <= 4999);

        assert_int_equal(code_of(code), is_good ? code : 1002);
    }
}

static void test_close_frames_of_a_client(void **state)
{
    static const struct {
        const char *payload;
        size_t len;
        int code;
        const char *reason;
    } cases[] = {
        {"", 0, 1005, "Client-side close frame status not set"},
        {"\x03", 1, 1002, ""},
        {"\x03\xe8", 2, 1000, ""},
        {"\x03\xe8\xc3\xa9", 4, 1000, "\xc3\xa9"},
        {"\x03\xe8\xc3", 3, 1007, ""},
        {"\x03\xed text", 7, 1002, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct frame_close close;

        frame_read_close(cases[i].payload, cases[i].len, &close);
        assert_int_equal(close.code, cases[i].code);
        assert_string_equal(close.reason, cases[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_has_the_three_lengths),
        cmocka_unit_test(test_what_is_no_larger_stays_whole),
        cmocka_unit_test(test_a_ping_is_never_cut),
        cmocka_unit_test(test_fragments_together_are_the_message),
        cmocka_unit_test(test_what_is_cut_already_is_left_alone),
        cmocka_unit_test(test_a_close_frame_has_code_and_reason),
        cmocka_unit_test(test_codes_that_must_not_be_sent_are_an_error_of_protocol),
        cmocka_unit_test(test_close_frames_of_a_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

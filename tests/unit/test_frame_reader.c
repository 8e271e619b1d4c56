/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
#include "frame_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FRAME_MOST = 70000, MESSAGE_MOST = 100000, FIN = 0x80, RSV1 = 0x40, TEXT = 1, BINARY = 2 };

static const struct frame_limits limits = {.frame_bytes = FRAME_MOST,
                                           .message_bytes = MESSAGE_MOST};
static const struct frame_limits deflate_limits = {
    .frame_bytes = FRAME_MOST, .message_bytes = MESSAGE_MOST, .may_compress = true};

/* ---- what a client writes ---- */

/* The length in the size that is asked for: 2, 4 or 10 bytes of head. */
static void add_head(struct buf *out, unsigned first, uint64_t len, size_t size)
{
    buf_addc(out, (char)first);
    if (size == 2)
        buf_addc(out, (char)(0x80 | len));
    else
        buf_addc(out, (char)(0x80 | (size == 4 ? 126 : 127)));
    for (size_t i = size - 2; i-- > 0;)
        buf_addc(out, (char)(len >> (8 * i)));
    buf_add(out, "mask", 4);
}

static void add_frame(struct buf *out, unsigned first, const char *payload, size_t len)
{
    add_head(out, first, len, len < 126 ? 2 : len < 65536 ? 4 : 10);
    for (size_t i = 0; i < len; i++)
        buf_addc(out, (char)(payload[i] ^ "mask"[i % 4]));
}

static void add_text(struct buf *out, unsigned first, const char *payload)
{
    add_frame(out, first, payload, strlen(payload));
}

/* ---- what is made of it ---- */

static void note(struct buf *events, enum frame_event event, const struct frame *frame)
{
    static const char *const names[] = {
        [FRAME_MESSAGE] = "message", [FRAME_PING] = "ping",
        [FRAME_PONG] = "pong",       [FRAME_CLOSE] = "close",
        [FRAME_BROKEN] = "broken",   [FRAME_IS_BINARY] = "binary",
        [FRAME_TOO_LARGE] = "large", [FRAME_MESSAGE_TOO_LARGE] = "large message"};

    buf_adds(events, names[event]);
    if (event == FRAME_MESSAGE && frame->is_compressed)
        buf_adds(events, frame->is_last ? " rsv1 last" : " rsv1");
    if (event <= FRAME_CLOSE) {
        buf_addc(events, ' ');
        buf_add(events, frame->data, frame->len);
    } else if (event == FRAME_BROKEN) {
        buf_addf(events, " %s", frame->reason);
    }
    buf_addc(events, '|');
}

/* False: nothing may be read any more. */
static bool feed(struct frame_reader *reader, const char *data, size_t len, struct buf *events)
{
    char *copy = mem_alloc(len + 1); /* of its own, so that ASan sees its end */
    struct frame_input input = {memcpy(copy, data, len), len};
    enum frame_event event = FRAME_MESSAGE;
    struct frame frame;

    while (event >= FRAME_MESSAGE && event < FRAME_BROKEN) {
        event = frame_reader_next(reader, &input, &frame);
        if (event != FRAME_NEEDS_MORE)
            note(events, event, &frame);
    }
    free(copy);
    return event == FRAME_NEEDS_MORE;
}

static const char *read_in_two(const struct frame_limits *given, const struct buf *bytes, size_t at,
                               struct buf *events)
{
    struct frame_reader reader;

    buf_clear(events);
    frame_reader_init(&reader, given);
    if (feed(&reader, bytes->data, at, events))
        (void)feed(&reader, bytes->data + at, bytes->len - at, events);
    frame_reader_done(&reader);
    return buf_str(events);
}

static const char *read_in_bytes(const struct frame_limits *given, const struct buf *bytes,
                                 struct buf *events)
{
    struct frame_reader reader;
    bool goes_on = true;

    buf_clear(events);
    frame_reader_init(&reader, given);
    for (size_t i = 0; goes_on && i < bytes->len; i++)
        goes_on = feed(&reader, bytes->data + i, 1, events);
    frame_reader_done(&reader);
    return buf_str(events);
}

/* The same whatever the split; frees the bytes. */
static void assert_events(const struct frame_limits *given, struct buf *bytes, const char *expected)
{
    struct buf events;

    buf_init(&events, SIZE_MAX);
    for (size_t at = 0; at <= bytes->len; at += bytes->len > 5000 && at > 50 ? 997 : 1)
        assert_string_equal(read_in_two(given, bytes, at, &events), expected);
    assert_string_equal(read_in_bytes(given, bytes, &events), expected);
    buf_done(&events);
    buf_done(bytes);
}

static struct buf start(void)
{
    struct buf bytes;

    buf_init(&bytes, SIZE_MAX);
    return bytes;
}

static void test_messages_and_control_frames_in_a_row(void **state)
{
    struct buf bytes = start();

    (void)state;
    add_text(&bytes, FIN | TEXT, "one");
    add_text(&bytes, FIN | TEXT, "");
    add_text(&bytes, FIN | 9, "are you there");
    add_text(&bytes, FIN | TEXT, "two, which is longer than eight");
    add_text(&bytes, FIN | 10, "");
    add_text(&bytes, FIN | 8, "\x03\xe8");
    assert_events(&limits, &bytes,
                  "message one|message |ping are you there|message two, which is longer than eight|"
                  "pong |close \x03\xe8|");
}

static void test_fragments_are_one_message_with_control_frames_between(void **state)
{
    struct buf bytes = start();

    (void)state;
    add_text(&bytes, TEXT, "first ");
    add_text(&bytes, FIN | 9, "p");
    add_text(&bytes, 0, "");
    add_text(&bytes, 0, "second ");
    add_text(&bytes, FIN | 10, "q");
    add_text(&bytes, FIN, "third");
    add_text(&bytes, TEXT, "");
    add_text(&bytes, FIN, "");
    add_text(&bytes, FIN | TEXT, "next");
    assert_events(&limits, &bytes,
                  "ping p|pong q|message first second third|message |"
                  "message next|");
}

static void test_frames_of_a_compressed_message_come_one_by_one(void **state)
{
    struct buf bytes = start();

    (void)state;
    add_text(&bytes, RSV1 | TEXT, "first");
    add_text(&bytes, FIN | 9, "p");
    add_text(&bytes, 0, "");
    add_text(&bytes, FIN, "last");
    add_text(&bytes, FIN | TEXT, "plain");
    add_text(&bytes, FIN | RSV1 | TEXT, "whole");
    assert_events(&deflate_limits, &bytes,
                  "message rsv1 first|ping p|message rsv1 |message rsv1 last last|message plain|"
                  "message rsv1 last whole|");
}

static char *pattern(size_t len)
{
    char *text = mem_alloc(len + 1);

    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    return text;
}

static void test_the_three_lengths(void **state)
{
    static const size_t lens[] = {125, 126, 127, 65535, 65536, FRAME_MOST};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf bytes = start();
        struct buf expected = start();
        char *text = pattern(lens[i]);

        add_text(&bytes, FIN | TEXT, text);
        add_text(&bytes, FIN | TEXT, "behind");
        buf_addf(&expected, "message %s|message behind|", text);
        if (lens[i] < 1000) {
            assert_events(&limits, &bytes, buf_str(&expected));
        } else {
            struct buf events = start();

            for (size_t at = 0; at < bytes.len; at += 9973)
                assert_string_equal(read_in_two(&limits, &bytes, at, &events), buf_str(&expected));
            buf_done(&events);
            buf_done(&bytes);
        }
        buf_done(&expected);
        free(text);
    }
}

/* Every way in which eight bytes at a time may meet a mask of four. */
static void test_payloads_of_every_small_size_are_unmasked(void **state)
{
    char *text = pattern(40);

    (void)state;
    for (size_t len = 0; len <= 40; len++) {
        struct buf bytes = start();
        struct buf expected = start();

        add_frame(&bytes, FIN | TEXT, text, len);
        buf_addf(&expected, "message %.*s|", (int)len, text);
        assert_events(&limits, &bytes, buf_str(&expected));
        buf_done(&expected);
    }
    free(text);
}

static void test_what_breaks_the_protocol(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *reason;
    } cases[] = {
        {"\x81\x01x", 3, "Frame is not masked"},
        {"\x89\x00", 2, "Frame is not masked"},
        {"\xc1\x80mask", 6, "Reserved bit is set"},
        {"\xa1\x80mask", 6, "Reserved bit is set"},
        {"\x91\x80mask", 6, "Reserved bit is set"},
        {"\xc9\x80mask", 6, "Reserved bit is set"},
        {"\x83\x80mask", 6, "Unknown opcode"},
        {"\x87\x80mask", 6, "Unknown opcode"},
        {"\x8b\x80mask", 6, "Unknown opcode"},
        {"\x8f\x80mask", 6, "Unknown opcode"},
        {"\x09\x80mask", 6, "Control frame is fragmented"},
        {"\x08\x80mask", 6, "Control frame is fragmented"},
        {"\x89\xfe\x00\x7emask", 8, "Control frame is too long"},
        {"\x80\x80mask", 6, "Continuation of nothing"},
        {"\x00\x80mask", 6, "Continuation of nothing"},
        {"\x01\x80mask\x81\x80mask", 12, "Continuation expected"},
        {"\x01\x80mask\x82\x80mask", 12, "Continuation expected"},
        {"\x81\xfe\x00\x7dmask", 8, "Invalid length"},
        {"\x81\xff\0\0\0\0\0\0\xff\xffmask", 14, "Invalid length"},
        {"\x81\xff\x80\0\0\0\0\0\0\0mask", 14, "Invalid length"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf bytes = start();
        char expected[64];

        snprintf(expected, sizeof(expected), "message ok|broken %s|", cases[i].reason);
        add_text(&bytes, FIN | TEXT, "ok");
        buf_add(&bytes, cases[i].bytes, cases[i].len);
        add_text(&bytes, FIN | TEXT, "never read");
        assert_events(&limits, &bytes, expected);
    }
}

static void test_compression_is_marked_at_the_first_frame_only(void **state)
{
    struct buf bytes = start();

    (void)state;
    add_text(&bytes, RSV1 | TEXT, "a");
    add_text(&bytes, FIN | RSV1, "b");
    assert_events(&deflate_limits, &bytes, "message rsv1 a|broken Reserved bit is set|");
}

static void test_binary_is_refused_at_its_head(void **state)
{
    struct buf bytes = start();

    (void)state;
    add_head(&bytes, FIN | BINARY, 1u << 30, 10);
    assert_events(&limits, &bytes, "binary|");
}

/* Before any of the payload has come. */
static void test_sizes_are_refused_at_the_head(void **state)
{
    struct buf bytes = start();
    char *text = pattern(FRAME_MOST);
    struct buf events = start();

    (void)state;
    add_head(&bytes, FIN | TEXT, FRAME_MOST + 1, 10);
    assert_events(&limits, &bytes, "large|");
    add_head(&bytes, FIN | TEXT, INT64_MAX, 10);
    assert_events(&limits, &bytes, "large|");
    add_text(&bytes, TEXT, text);
    add_head(&bytes, FIN, MESSAGE_MOST - FRAME_MOST + 1, 4);
    assert_string_equal(read_in_two(&limits, &bytes, 100, &events), "large message|");
    buf_done(&bytes);
    add_text(&bytes, TEXT, text);
    add_head(&bytes, FIN, MESSAGE_MOST - FRAME_MOST, 4);
    assert_string_equal(read_in_two(&limits, &bytes, 100, &events), "");
    buf_done(&bytes);
    buf_done(&events);
    free(text);
}

/* What comes out of it is not known at the head. */
static void test_of_a_compressed_message_only_the_frames_are_limited(void **state)
{
    struct buf bytes = start();
    struct buf events = start();
    char *text = pattern(FRAME_MOST);

    (void)state;
    add_text(&bytes, RSV1 | TEXT, text);
    add_text(&bytes, 0, text);
    add_text(&bytes, FIN, text);
    (void)read_in_two(&deflate_limits, &bytes, 3 * FRAME_MOST / 2, &events);
    assert_int_equal(events.len,
                     3 * FRAME_MOST + 2 * strlen("message rsv1 |") + strlen("message rsv1 last |"));
    buf_done(&bytes);
    buf_done(&events);
    free(text);
}

static void test_between_messages_nothing_is_kept(void **state)
{
    struct frame_reader reader;
    struct buf bytes = start();
    struct buf events = start();

    (void)state;
    add_text(&bytes, FIN | TEXT, "whole");
    add_text(&bytes, FIN | TEXT, "cut");
    frame_reader_init(&reader, &limits);
    assert_true(feed(&reader, bytes.data, bytes.len - 1, &events));
    assert_non_null(reader.rest);
    assert_true(feed(&reader, bytes.data + bytes.len - 1, 1, &events));
    assert_null(reader.rest);
    assert_string_equal(buf_str(&events), "message whole|message cut|");
    frame_reader_done(&reader);
    buf_done(&bytes);
    buf_done(&events);
}

/* A message that is there as a whole is not copied. */
static void test_a_whole_message_is_lent_where_it_lies(void **state)
{
    struct frame_reader reader;
    struct buf bytes = start();
    struct frame_input input;
    struct frame frame;

    (void)state;
    add_text(&bytes, FIN | TEXT, "here");
    input = (struct frame_input){bytes.data, bytes.len};
    frame_reader_init(&reader, &limits);
    assert_int_equal(frame_reader_next(&reader, &input, &frame), FRAME_MESSAGE);
    assert_ptr_equal(frame.data, bytes.data + 6);
    assert_true(frame.is_last);
    assert_null(reader.rest);
    buf_done(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_and_control_frames_in_a_row),
        cmocka_unit_test(test_fragments_are_one_message_with_control_frames_between),
        cmocka_unit_test(test_frames_of_a_compressed_message_come_one_by_one),
        cmocka_unit_test(test_the_three_lengths),
        cmocka_unit_test(test_payloads_of_every_small_size_are_unmasked),
        cmocka_unit_test(test_what_breaks_the_protocol),
        cmocka_unit_test(test_compression_is_marked_at_the_first_frame_only),
        cmocka_unit_test(test_binary_is_refused_at_its_head),
        cmocka_unit_test(test_sizes_are_refused_at_the_head),
        cmocka_unit_test(test_of_a_compressed_message_only_the_frames_are_limited),
        cmocka_unit_test(test_between_messages_nothing_is_kept),
        cmocka_unit_test(test_a_whole_message_is_lent_where_it_lies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

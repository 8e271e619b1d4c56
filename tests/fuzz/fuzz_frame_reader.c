/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_frame_reader.c - frames of a client: however their bytes are split, the events are the same.
 *
 * The first byte says where the splits are and whether messages may be compressed.
 */
#include "buf.h"
#include "frame_reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(struct buf *events, enum frame_event event, const struct frame *frame)
{
    buf_addf(events, "%d ", (int)event);
    if (event == FRAME_BROKEN)
        buf_adds(events, frame->reason);
    if (event > FRAME_CLOSE)
        return;
    buf_addf(events, "%d %d %zu ", frame->is_compressed, frame->is_last, frame->len);
    buf_add(events, frame->data, frame->len);
}

/* False: nothing may be read any more. */
static bool feed(struct frame_reader *reader, const char *data, size_t len, struct buf *events)
{
    char *copy = mem_alloc(len); /* of its own, so that ASan sees its end */
    struct frame_input input = {memcpy(copy, data, len), len};
    enum frame_event event = FRAME_MESSAGE;
    struct frame frame;

    while (event >= FRAME_MESSAGE && event <= FRAME_CLOSE) {
        event = frame_reader_next(reader, &input, &frame);
        if (event != FRAME_NEEDS_MORE)
            note(events, event, &frame);
    }
    free(copy);
    return event == FRAME_NEEDS_MORE;
}

static void read_in(const struct frame_limits *limits, const char *data, size_t size, size_t piece,
                    struct buf *events)
{
    struct frame_reader reader;
    bool goes_on = true;

    buf_init(events, SIZE_MAX);
    frame_reader_init(&reader, limits);
    for (size_t at = 0; goes_on && at < size; at += piece)
        goes_on = feed(&reader, data + at, size - at < piece ? size - at : piece, events);
    frame_reader_done(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct frame_limits limits = {.frame_bytes = 1000, .message_bytes = 1500};
    struct buf whole, pieces;

    if (size < 2)
        return 0;
    limits.may_compress = data[0] & 1;
    read_in(&limits, text + 1, size - 1, size, &whole);
    read_in(&limits, text + 1, size - 1, 1 + data[0] / 2, &pieces);
    if (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0))
        abort();
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}

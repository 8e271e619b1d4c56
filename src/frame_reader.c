/* SPDX-License-Identifier: Apache-2.0 */
#include "frame_reader.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "frame.h"

enum {
    HEAD_BYTES_MOST = 14,
    MASK_BYTES = 4,
    RSV1 = 0x40,
    RSV23 = 0x30,
    OPCODE = 0x0f,
    CONTROL = 0x08, /* the bit of an opcode that says so */
    MASKED = 0x80,
    LENGTH_16 = 126,
    LENGTH_64 = 127
};

enum {
    OPCODE_CONTINUATION,
    OPCODE_TEXT,
    OPCODE_BINARY,
    OPCODE_CLOSE = 8,
    OPCODE_PING,
    OPCODE_PONG
};

struct head {
    unsigned first; /* FIN, reserved bits, opcode */
    bool is_masked;
    bool is_minimal; /* the length could not be written shorter */
    unsigned char mask[MASK_BYTES];
    uint64_t len;
};

/* What has to be remembered from one input to the next. */
struct frame_rest {
    unsigned char head_bytes[HEAD_BYTES_MOST]; /* of a head that is cut */
    size_t head_len;
    struct head head; /* of a frame whose payload is cut */
    size_t got;       /* of its payload */
    bool is_in_frame;
    bool is_in_message; /* the last frame with data was not the last of its message */
    bool is_compressed; /* that message */
    bool is_lent;       /* `data` was */
    struct buf data;    /* of the message; when it is compressed, of the frame */
    unsigned char control[FRAME_CONTROL_BYTES];
};

void frame_reader_init(struct frame_reader *reader, const struct frame_limits *limits)
{
    *reader = (struct frame_reader){.limits = limits};
}

void frame_reader_done(struct frame_reader *reader)
{
    if (!reader->rest)
        return;
    buf_done(&reader->rest->data);
    free(reader->rest);
    reader->rest = NULL;
}

static struct frame_rest *need_rest(struct frame_reader *reader)
{
    const struct frame_limits *limits = reader->limits;

    if (!reader->rest) {
        reader->rest = mem_alloc(sizeof(*reader->rest));
        buf_init(&reader->rest->data, limits->frame_bytes > limits->message_bytes
                                          ? limits->frame_bytes
                                          : limits->message_bytes);
    }
    return reader->rest;
}

/* What was lent is given back. */
static void settle(struct frame_reader *reader)
{
    struct frame_rest *rest = reader->rest;

    if (rest->is_lent)
        buf_done(&rest->data);
    rest->is_lent = false;
    if (!rest->is_in_frame && !rest->is_in_message && rest->head_len == 0)
        frame_reader_done(reader);
}

/* ---- heads ---- */

/* How long the head is that begins so; at least its first two bytes are there. */
static size_t head_size(const unsigned char *bytes)
{
    unsigned len = bytes[1] & ~(unsigned)MASKED;
    size_t size = len == LENGTH_64 ? 10 : len == LENGTH_16 ? 4 : 2;

    return bytes[1] & MASKED ? size + MASK_BYTES : size;
}

static void parse_head(const unsigned char *bytes, struct head *head)
{
    size_t at = 2;

    head->first = bytes[0];
    head->is_masked = (bytes[1] & MASKED) != 0;
    head->len = bytes[1] & ~(unsigned)MASKED;
    head->is_minimal = true;
    if (head->len == LENGTH_16) {
        head->len = (uint64_t)bytes[2] << 8 | bytes[3];
        head->is_minimal = head->len >= LENGTH_16;
        at = 4;
    } else if (head->len == LENGTH_64) {
        head->len = 0;
        for (at = 2; at < 10; at++)
            head->len = head->len << 8 | bytes[at];
        head->is_minimal = head->len > UINT16_MAX;
    }
    if (head->is_masked)
        memcpy(head->mask, bytes + at, MASK_BYTES);
}

static void drop(struct frame_input *input, size_t len)
{
    input->data += len;
    input->len -= len;
}

/* As many bytes as are missing up to `size`; false when there are not enough. */
static bool complete_head(struct frame_rest *rest, struct frame_input *input, size_t size)
{
    size_t n = size > rest->head_len ? size - rest->head_len : 0;

    if (n > input->len)
        n = input->len;
    memcpy(rest->head_bytes + rest->head_len, input->data, n);
    rest->head_len += n;
    drop(input, n);
    return rest->head_len >= size;
}

/* False when the head has not come as a whole: what there is of it is kept. */
static bool take_head(struct frame_reader *reader, struct frame_input *input, struct head *head)
{
    const unsigned char *bytes = (const unsigned char *)input->data;
    struct frame_rest *rest = reader->rest;

    if (input->len == 0)
        return false;
    if ((!rest || rest->head_len == 0) && input->len >= 2 && input->len >= head_size(bytes)) {
        parse_head(bytes, head);
        drop(input, head_size(bytes));
        return true;
    }
    rest = need_rest(reader);
    if (!complete_head(rest, input, 2) || !complete_head(rest, input, head_size(rest->head_bytes)))
        return false;
    parse_head(rest->head_bytes, head);
    rest->head_len = 0;
    return true;
}

/* ---- what a client must not send ---- */

static const char *find_fault_in_control(const struct head *head)
{
    unsigned opcode = head->first & OPCODE;

    if (opcode > OPCODE_PONG)
        return "Unknown opcode";
    if (head->first & RSV1)
        return "Reserved bit is set";
    if (!(head->first & FRAME_FIN))
        return "Control frame is fragmented";
    return head->len > FRAME_CONTROL_BYTES ? "Control frame is too long" : NULL;
}

static const char *find_fault(const struct frame_reader *reader, const struct head *head)
{
    unsigned opcode = head->first & OPCODE;
    bool is_in_message = reader->rest && reader->rest->is_in_message;

    if (!head->is_masked)
        return "Frame is not masked";
    if (head->first & RSV23)
        return "Reserved bit is set";
    if (!head->is_minimal || head->len > INT64_MAX)
        return "Invalid length";
    if (opcode & CONTROL)
        return find_fault_in_control(head);
    if (opcode > OPCODE_BINARY)
        return "Unknown opcode";
    if ((head->first & RSV1) && (opcode == OPCODE_CONTINUATION || !reader->limits->may_compress))
        return "Reserved bit is set";
    if (opcode == OPCODE_CONTINUATION && !is_in_message)
        return "Continuation of nothing";
    if (opcode != OPCODE_CONTINUATION && is_in_message)
        return "Continuation expected";
    return NULL;
}

static bool is_compressed(const struct frame_reader *reader, const struct head *head)
{
    if ((head->first & OPCODE) == OPCODE_CONTINUATION)
        return reader->rest->is_compressed;
    return (head->first & RSV1) != 0;
}

/* FRAME_MESSAGE: nothing is wrong. */
static enum frame_event check(const struct frame_reader *reader, const struct head *head,
                              struct frame *frame)
{
    size_t before = reader->rest ? reader->rest->data.len : 0;

    frame->reason = find_fault(reader, head);
    if (frame->reason)
        return FRAME_BROKEN;
    if (head->first & CONTROL)
        return FRAME_MESSAGE;
    if ((head->first & OPCODE) == OPCODE_BINARY)
        return FRAME_IS_BINARY;
    if (head->len > reader->limits->frame_bytes)
        return FRAME_TOO_LARGE;
    if (!is_compressed(reader, head) && before + head->len > reader->limits->message_bytes)
        return FRAME_MESSAGE_TOO_LARGE;
    return FRAME_MESSAGE;
}

/* ---- payload ---- */

/* at: where in the payload the bytes are. */
static void unmask(char *data, size_t len, const unsigned char mask[MASK_BYTES], size_t at)
{
    unsigned char key[8];
    uint64_t wide, word;
    size_t i = 0;

    for (size_t k = 0; k < sizeof(key); k++)
        key[k] = mask[(at + k) % MASK_BYTES];
    memcpy(&wide, key, sizeof(wide));
    for (; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        word ^= wide;
        memcpy(data + i, &word, sizeof(word));
    }
    for (size_t k = 0; i < len; i++, k++)
        data[i] = (char)((unsigned char)data[i] ^ key[k]);
}

/* A part of the payload that is not all of it. */
static void keep(struct frame_reader *reader, const struct head *head, const char *data, size_t len)
{
    struct frame_rest *rest = need_rest(reader);

    if (!rest->is_in_frame)
        rest->got = 0;
    rest->is_in_frame = true;
    rest->head = *head;
    if (head->first & CONTROL)
        memcpy(rest->control + rest->got, data, len);
    else
        buf_add(&rest->data, data, len);
    rest->got += len;
}

static enum frame_event finish_control(struct frame_reader *reader, const struct head *head,
                                       struct frame *frame)
{
    static const enum frame_event events[] = {FRAME_CLOSE, FRAME_PING, FRAME_PONG};
    struct frame_rest *rest = reader->rest;

    if (rest && rest->is_in_frame) {
        keep(reader, head, frame->data, frame->len);
        frame->data = (char *)rest->control;
        frame->len = rest->got;
        rest->is_in_frame = false;
    }
    frame->is_compressed = false;
    frame->is_last = true;
    return events[(head->first & OPCODE) - OPCODE_CLOSE];
}

/* FRAME_NEEDS_MORE: the message goes on, and is kept. */
static enum frame_event finish_part(struct frame_reader *reader, const struct head *head,
                                    struct frame *frame)
{
    struct frame_rest *rest = need_rest(reader);
    bool is_due = frame->is_last || frame->is_compressed;
    bool has_begun = rest->is_in_frame || rest->data.len > 0;

    rest->is_compressed = frame->is_compressed;
    rest->is_in_message = !frame->is_last;
    if (is_due && !has_begun)
        return FRAME_MESSAGE;
    keep(reader, head, frame->data, frame->len);
    rest->is_in_frame = false;
    if (!is_due)
        return FRAME_NEEDS_MORE;
    rest->is_lent = true;
    frame->data = rest->data.data;
    frame->len = rest->data.len;
    return FRAME_MESSAGE;
}

/* frame has what the input had of the payload: all of it, or the end. */
static enum frame_event finish_data(struct frame_reader *reader, const struct head *head,
                                    struct frame *frame)
{
    frame->is_compressed = is_compressed(reader, head);
    frame->is_last = (head->first & FRAME_FIN) != 0;
    if (frame->is_last && !reader->rest)
        return FRAME_MESSAGE;
    return finish_part(reader, head, frame);
}

/* FRAME_NEEDS_MORE: of this frame there is nothing to say, or nothing yet. */
static enum frame_event read_payload(struct frame_reader *reader, const struct head *head,
                                     struct frame_input *input, struct frame *frame)
{
    struct frame_rest *rest = reader->rest;
    size_t got = rest && rest->is_in_frame ? rest->got : 0;
    size_t left = (size_t)head->len - got;

    frame->data = input->data;
    frame->len = left < input->len ? left : input->len;
    unmask(frame->data, frame->len, head->mask, got);
    drop(input, frame->len);
    if (frame->len < left) {
        keep(reader, head, frame->data, frame->len);
        return FRAME_NEEDS_MORE;
    }
    return head->first & CONTROL ? finish_control(reader, head, frame)
                                 : finish_data(reader, head, frame);
}

static enum frame_event read_frame(struct frame_reader *reader, struct frame_input *input,
                                   struct frame *frame)
{
    struct head head;
    enum frame_event event;

    if (reader->rest && reader->rest->is_in_frame) {
        head = reader->rest->head;
    } else {
        if (!take_head(reader, input, &head))
            return FRAME_NEEDS_MORE;
        event = check(reader, &head, frame);
        if (event != FRAME_MESSAGE)
            return event;
    }
    return read_payload(reader, &head, input, frame);
}

enum frame_event frame_reader_next(struct frame_reader *reader, struct frame_input *input,
                                   struct frame *frame)
{
    enum frame_event event = FRAME_NEEDS_MORE;

    if (reader->rest)
        settle(reader);
    while (event == FRAME_NEEDS_MORE && input->len > 0)
        event = read_frame(reader, input, frame);
    return event;
}

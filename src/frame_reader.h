/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_reader.h - frames as a client sends them (RFC 6455, sections 5.2 to 5.5), from bytes as
 * they come.
 *
 * A message that is in the input as a whole is unmasked where it lies and lent to the caller; only
 * what is cut by the end of the input, or by fragmentation, is kept here.  Between messages a
 * reader has no memory.  No I/O: how the bytes were split makes no difference to the events.
 */
#pragma once

#include "base.h"

struct frame_limits {
    size_t frame_bytes;   /* payload of one frame; as it comes, compressed or not */
    size_t message_bytes; /* of all frames of a message that is not compressed */
    bool may_compress;    /* permessage-deflate was negotiated: RSV1 is allowed */
};

enum frame_event {
    FRAME_NEEDS_MORE, /* the input is used up */
    FRAME_MESSAGE,    /* text: a message, or, when it is compressed, a frame of one */
    FRAME_PING,
    FRAME_PONG,
    FRAME_CLOSE,
    /* What the client must not do, found at the head of a frame.  Nothing may be read behind it. */
    FRAME_BROKEN,           /* `reason` says how */
    FRAME_IS_BINARY,        /* which is not understood here */
    FRAME_TOO_LARGE,        /* frame_bytes */
    FRAME_MESSAGE_TOO_LARGE /* message_bytes */
};

struct frame {
    char *data; /* lent until the next call; never NULL */
    size_t len;
    bool is_compressed;
    bool is_last;       /* the message ends with it */
    const char *reason; /* of FRAME_BROKEN */
};

/* What the caller has read.  Moves on; the bytes are changed. */
struct frame_input {
    char *data;
    size_t len;
};

struct frame_rest;
struct frame_reader {
    const struct frame_limits *limits; /* the caller's */
    struct frame_rest *rest;           /* NULL between messages */
};

void frame_reader_init(struct frame_reader *reader, const struct frame_limits *limits);
void frame_reader_done(struct frame_reader *reader);

/* The next event in the input.  The UTF-8 of texts is not looked at. */
enum frame_event frame_reader_next(struct frame_reader *reader, struct frame_input *input,
                                   struct frame *frame) MUST_USE;

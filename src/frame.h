/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - WebSocket frames as a server writes them (RFC 6455, section 5.2): not masked, the
 * length in 7, 16 or 64 bits; and close frames of either side.
 */
#pragma once

#include "base.h"

struct buf;

enum {
    FRAME_HEAD_BYTES = 10,
    FRAME_CONTROL_BYTES = 125, /* the most that a control frame may carry (section 5.5) */
    FRAME_FIN = 0x80,
    FRAME_TEXT = 0x01,
    FRAME_CLOSE_OPCODE = 0x08,
    FRAME_PONG_OPCODE = 0x0a
};

enum { /* section 7.4.1 */
       FRAME_CODE_PROTOCOL_ERROR = 1002,
       FRAME_CODE_NOT_TEXT = 1003,
       FRAME_CODE_NONE = 1005, /* the close frame has no code; never sent */
       FRAME_CODE_BAD_TEXT = 1007,
       FRAME_CODE_TOO_BIG = 1009
};

/* Writes the head of a frame with len bytes of payload and returns its size; first: its first byte,
 * FIN and opcode. */
size_t frame_write_head(unsigned char head[FRAME_HEAD_BYTES], unsigned first, size_t len);

/* How many bytes the frame at data has, head included; it is complete. */
size_t frame_size(const char *data);

/* Whether one of the frames at data, all complete, has more payload than most. */
bool frame_is_longer(const char *data, size_t len, size_t most);
/* Appends them, those that have more in fragments of most bytes; control frames stay whole. */
void frame_cut(const char *data, size_t len, size_t most, struct buf *out);

/* Appends a close frame; a reason that is too long is cut.  No payload with FRAME_CODE_NONE. */
void frame_write_close(struct buf *out, int code, const char *reason);

/* What a client's close frame says (sections 7.1.5 and 7.1.6); a frame that is broken says 1002 or
 * 1007, which is also what to answer. */
struct frame_close {
    int code;
    char reason[FRAME_CONTROL_BYTES - 1];
};
void frame_read_close(const char *payload, size_t len, struct frame_close *close);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - WebSocket frames as a server writes them (RFC 6455, section 5.2): not masked, the
 * length in 7, 16 or 64 bits.
 */
#pragma once

#include "base.h"

enum {
    FRAME_HEAD_BYTES = 10,
    FRAME_CONTROL_BYTES = 125, /* the most that a control frame may carry (section 5.5) */
    FRAME_FIN = 0x80,
    FRAME_TEXT = 0x01
};

/* Writes the head of a frame with len bytes of payload and returns its size; first: its first byte,
 * FIN and opcode. */
size_t frame_write_head(unsigned char head[FRAME_HEAD_BYTES], unsigned first, size_t len);

/* How many bytes the frame at data has, head included; it is complete. */
size_t frame_size(const char *data);

/* A frame in two: both views into its bytes. */
struct frame_cut {
    char *first;
    size_t first_len;
    char *rest; /* where the payload of the rest begins, or NULL when the frame was not cut */
    size_t rest_len;
    unsigned rest_head; /* FIN as the frame had it, and the opcode of a continuation */
};

/* Cuts the frame at data, in place, so that the first part has a payload of most bytes; a control
 * frame and one that is no larger stay whole. */
void frame_cut(char *data, size_t most, struct frame_cut *cut);
/* When the first part has been sent: puts a head in front of the rest, over what was sent, and
 * returns where it begins. */
char *frame_continue(const struct frame_cut *cut);

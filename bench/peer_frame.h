/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_frame.h - the frames of RFC 6455 as a client writes and reads them, in place.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum frame_opcode {
    FRAME_CONTINUATION = 0,
    FRAME_TEXT = 1,
    FRAME_CLOSE = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10
};

enum { FRAME_CLIENT_HEAD_BYTES = 14, FRAME_LIMIT = 64 * 1024 * 1024 };

/* The payload is borrowed from the bytes that were read. */
struct frame {
    const char *payload;
    size_t len;
    enum frame_opcode opcode;
    bool is_final;
};

static inline void frame_mask(char *out, const char *in, size_t len, uint32_t mask)
{
    uint64_t wide = (uint64_t)mask << 32 | mask;
    unsigned char byte[sizeof wide];
    size_t at = 0;

    for (; at + sizeof wide <= len; at += sizeof wide) {
        uint64_t eight;
        memcpy(&eight, in + at, sizeof eight);
        eight ^= wide;
        memcpy(out + at, &eight, sizeof eight);
    }
    memcpy(byte, &wide, sizeof wide);
    for (size_t i = 0; at < len; at++, i++)
        out[at] = (char)((unsigned char)in[at] ^ byte[i]);
}

/* Writes at most FRAME_CLIENT_HEAD_BYTES more than the payload; returns how many bytes. */
static inline size_t frame_put(char *out, enum frame_opcode opcode, const char *payload, size_t len,
                               uint32_t mask)
{
    unsigned char head[FRAME_CLIENT_HEAD_BYTES] = {(unsigned char)(0x80U | opcode)};
    size_t size = 2;

    if (len < 126) {
        head[1] = (unsigned char)(0x80U | len);
    } else {
        size_t bytes = len <= 0xffff ? 2 : 8;
        head[1] = (unsigned char)(0x80U | (bytes == 2 ? 126 : 127));
        for (size_t i = 0; i < bytes; i++)
            head[size++] = (unsigned char)((uint64_t)len >> (8 * (bytes - 1 - i)));
    }
    memcpy(head + size, &mask, sizeof mask);
    size += sizeof mask;
    memcpy(out, head, size);
    frame_mask(out + size, payload, len, mask);
    return size + len;
}

/* Returns the bytes of the first frame; 0 when it is not complete, or error has been set. */
static inline size_t frame_get(const char *data, size_t len, struct frame *frame,
                               const char **error)
{
    const unsigned char *p = (const unsigned char *)data;
    size_t head = 2;
    uint64_t payload;

    if (len < head)
        return 0;
    if ((p[0] & 0x70) || (p[1] & 0x80)) {
        *error = "a frame that is masked or has reserved bits";
        return 0;
    }
    payload = p[1];
    if (payload >= 126) {
        head += payload == 126 ? 2 : 8;
        if (len < head)
            return 0;
        payload = 0;
        for (size_t i = 2; i < head; i++)
            payload = payload << 8 | p[i];
    }
    if (payload > FRAME_LIMIT || ((p[0] & 8) && (payload > 125 || !(p[0] & 0x80)))) {
        *error = "a frame that is too large, or a control frame in parts";
        return 0;
    }
    if (len - head < payload)
        return 0;
    *frame = (struct frame){.payload = data + head,
                            .len = (size_t)payload,
                            .opcode = (enum frame_opcode)(p[0] & 15),
                            .is_final = p[0] & 0x80};
    return head + (size_t)payload;
}

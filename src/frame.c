/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <string.h>

enum { CONTROL_BIT = 0x08, LENGTH_16 = 126, LENGTH_64 = 127 };

size_t frame_write_head(unsigned char head[FRAME_HEAD_BYTES], unsigned first, size_t len)
{
    head[0] = (unsigned char)first;
    if (len < LENGTH_16) {
        head[1] = (unsigned char)len;
        return 2;
    }
    if (len <= 0xffff) {
        head[1] = LENGTH_16;
        head[2] = (unsigned char)(len >> 8);
        head[3] = (unsigned char)len;
        return 4;
    }
    head[1] = LENGTH_64;
    for (int i = 0; i < 8; i++)
        head[2 + i] = (unsigned char)((uint64_t)len >> (56 - 8 * i));
    return FRAME_HEAD_BYTES;
}

/* The size of the head at data, and of what is behind it. */
static size_t read_head(const char *data, size_t *payload_len)
{
    const unsigned char *p = (const unsigned char *)data;
    uint64_t len = 0;

    if (p[1] < LENGTH_16) {
        *payload_len = p[1];
        return 2;
    }
    if (p[1] == LENGTH_16) {
        *payload_len = (size_t)p[2] << 8 | p[3];
        return 4;
    }
    for (int i = 2; i < FRAME_HEAD_BYTES; i++)
        len = len << 8 | p[i];
    *payload_len = (size_t)len;
    return FRAME_HEAD_BYTES;
}

size_t frame_size(const char *data)
{
    size_t payload_len;
    size_t head_len = read_head(data, &payload_len);

    return head_len + payload_len;
}

/* In front of the payload; returns where the head begins. */
static char *put_head(char *payload, unsigned first, size_t len)
{
    unsigned char head[FRAME_HEAD_BYTES];
    size_t head_len = frame_write_head(head, first, len);

    memcpy(payload - head_len, head, head_len);
    return payload - head_len;
}

/* The head of a part is never longer than that of the whole: there is room for it. */
void frame_cut(char *data, size_t most, struct frame_cut *cut)
{
    unsigned first = (unsigned char)data[0];
    size_t payload_len;
    char *payload = data + read_head(data, &payload_len);

    *cut = (struct frame_cut){.first = data, .first_len = (size_t)(payload - data) + payload_len};
    if (payload_len <= most || (first & CONTROL_BIT))
        return;
    cut->first = put_head(payload, first & ~(unsigned)FRAME_FIN, most);
    cut->first_len = (size_t)(payload - cut->first) + most;
    cut->rest = payload + most;
    cut->rest_len = payload_len - most;
    cut->rest_head = first & FRAME_FIN;
}

char *frame_continue(const struct frame_cut *cut)
{
    return put_head(cut->rest, cut->rest_head, cut->rest_len);
}

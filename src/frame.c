/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "json.h"

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

bool frame_is_longer(const char *data, size_t len, size_t most)
{
    size_t payload_len;

    for (size_t at = 0; at < len; at += payload_len) {
        at += read_head(data + at, &payload_len);
        if (payload_len > most)
            return true;
    }
    return false;
}

static void add_fragment(struct buf *out, unsigned first, const char *payload, size_t len)
{
    unsigned char head[FRAME_HEAD_BYTES];

    buf_add(out, head, frame_write_head(head, first, len));
    buf_add(out, payload, len);
}

static void cut_one(const char *payload, size_t len, unsigned first, size_t most, struct buf *out)
{
    unsigned opcode = first & ~(unsigned)FRAME_FIN;

    while (len > most && !(first & CONTROL_BIT)) {
        add_fragment(out, opcode, payload, most);
        opcode = 0; /* a continuation */
        payload += most;
        len -= most;
    }
    add_fragment(out, (first & FRAME_FIN) | opcode, payload, len);
}

void frame_cut(const char *data, size_t len, size_t most, struct buf *out)
{
    size_t payload_len;

    for (size_t at = 0; at < len; at += payload_len) {
        unsigned first = (unsigned char)data[at];

        at += read_head(data + at, &payload_len);
        cut_one(data + at, payload_len, first, most, out);
    }
}

/* ---- close frames ---- */

void frame_write_close(struct buf *out, int code, const char *reason)
{
    const char bytes[2] = {(char)(code >> 8), (char)code};
    size_t len = strlen(reason);

    if (len > FRAME_CONTROL_BYTES - sizeof(bytes))
        len = FRAME_CONTROL_BYTES - sizeof(bytes);
    buf_addc(out, (char)(FRAME_FIN | FRAME_CLOSE_OPCODE));
    if (code == FRAME_CODE_NONE) {
        buf_addc(out, 0);
        return;
    }
    buf_addc(out, (char)(sizeof(bytes) + len));
    buf_add(out, bytes, sizeof(bytes));
    buf_add(out, reason, len);
}

/* Those that are defined, and those that libraries and applications may choose (section 7.4.2). */
static bool may_be_sent(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

void frame_read_close(const char *payload, size_t len, struct frame_close *close)
{
    const unsigned char *bytes = (const unsigned char *)payload;

    *close = (struct frame_close){.code = FRAME_CODE_NONE};
    if (len == 0) {
        snprintf(close->reason, sizeof(close->reason), "Client-side close frame status not set");
        return;
    }
    close->code = len >= 2 && len <= FRAME_CONTROL_BYTES ? bytes[0] << 8 | bytes[1] : 0;
    if (!may_be_sent(close->code))
        close->code = FRAME_CODE_PROTOCOL_ERROR;
    else if (!utf8_is_valid(payload + 2, len - 2))
        close->code = FRAME_CODE_BAD_TEXT;
    else
        memcpy(close->reason, payload + 2, len - 2);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.c - a growing byte buffer that is born with a limit.
 *
 * Nothing is allocated before the first byte: an idle connection owns several of these.  The NUL
 * that buf_str promises is not part of the limit.
 */
#include "buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 64 };

void buf_init(struct buf *buf, size_t limit)
{
    *buf = (struct buf){.limit = limit};
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.limit = buf->limit};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->full = false;
}

/* Storage for `needed` bytes and a NUL.  Doubles, but never past the limit and its NUL. */
static void grow(struct buf *buf, size_t needed)
{
    size_t cap = buf->cap ? buf->cap : FIRST_BYTES;

    while (cap < needed + 1)
        cap = cap > SIZE_MAX / 2 ? needed + 1 : cap * 2;
    if (buf->limit < cap - 1)
        cap = buf->limit + 1;
    buf->data = mem_realloc(buf->data, cap);
    buf->cap = cap;
}

char *buf_reserve(struct buf *buf, size_t len)
{
    if (buf->full)
        return NULL;
    if (buf->len > buf->limit || len > buf->limit - buf->len) {
        buf->full = true;
        return NULL;
    }
    if (buf->cap - buf->len < len + 1)
        grow(buf, buf->len + len);
    return buf->data + buf->len;
}

void buf_commit(struct buf *buf, size_t len)
{
    assert(buf->cap > buf->len && len <= buf->cap - buf->len - 1);
    buf->len += len;
}

void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    char *at = buf_reserve(buf, len);

    if (!at || len == 0)
        return;
    memcpy(at, bytes, len);
    buf->len += len;
}

void buf_adds(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_addc(struct buf *buf, char c)
{
    if (!buf->full && buf->len < buf->limit && buf->len + 1 < buf->cap)
        buf->data[buf->len++] = c; /* mostly, and JSON is made of these */
    else
        buf_add(buf, &c, 1);
}

void buf_add_utf8(struct buf *buf, const char *bytes, size_t len)
{
    size_t good = 0;

    while (good < len) {
        size_t begin = good;
        size_t n = 1;

        while (good < len && (n = utf8_char_len(bytes + good, len - good)) > 0)
            good += n;
        buf_add(buf, bytes + begin, good - begin);
        if (good < len) {
            buf_adds(buf, "\xEF\xBF\xBD");
            good++;
        }
    }
}

void buf_addf(struct buf *buf, const char *fmt, ...)
{
    char small[256];
    va_list args;
    char *at;
    int n;

    va_start(args, fmt);
    n = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < sizeof(small)) {
        buf_add(buf, small, (size_t)n);
        return;
    }
    at = buf_reserve(buf, (size_t)n);
    if (!at)
        return;
    va_start(args, fmt);
    vsnprintf(at, (size_t)n + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)n;
}

void buf_drop_front(struct buf *buf, size_t len)
{
    assert(len <= buf->len);
    buf->len -= len;
    if (buf->len && len)
        memmove(buf->data, buf->data + len, buf->len);
}

const char *buf_str(struct buf *buf)
{
    if (!buf->data)
        return "";
    buf->data[buf->len] = '\0';
    return buf->data;
}

char *buf_take(struct buf *buf)
{
    char *text = buf->data;

    if (text)
        text[buf->len] = '\0';
    else
        text = mem_strndup("", 0);
    buf_init(buf, buf->limit);
    return text;
}

bool buf_full(const struct buf *buf)
{
    return buf->full;
}

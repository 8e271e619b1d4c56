/* SPDX-License-Identifier: Apache-2.0 */
#include "inflater.h"

#include <stdlib.h>

#define ZLIB_CONST /* next_in does not write */
#include <zlib.h>

#include "buf.h"

enum { WINDOW_BITS = 15, STEP_BYTES = 4096 };

struct inflater {
    z_stream stream;
};

static void *alloc(void *ctx, unsigned count, unsigned size)
{
    (void)ctx;
    return mem_alloc((size_t)count * size);
}

static void release(void *ctx, void *block)
{
    (void)ctx;
    free(block);
}

struct inflater *inflater_create(void)
{
    struct inflater *inflater = mem_alloc(sizeof(*inflater));

    inflater->stream.zalloc = alloc;
    inflater->stream.zfree = release;
    if (inflateInit2(&inflater->stream, -WINDOW_BITS) != Z_OK)
        abort(); /* another version of zlib than this was compiled with */
    return inflater;
}

void inflater_free(struct inflater *inflater)
{
    if (!inflater)
        return;
    (void)inflateEnd(&inflater->stream);
    free(inflater);
}

/* One call of zlib.  With no room left, there may be no more than nothing to come. */
static enum status step(z_stream *stream, struct buf *out, bool *is_done)
{
    unsigned char beyond = 0;
    size_t room = out->limit - out->len;
    unsigned given;
    int rc;

    if (room > STEP_BYTES)
        room = STEP_BYTES;
    given = room ? (unsigned)room : 1;
    stream->next_out = room ? (unsigned char *)buf_reserve(out, room) : &beyond;
    stream->avail_out = given;
    rc = inflate(stream, Z_SYNC_FLUSH);
    /* Whatever zlib has found behind that byte, in this call or in the next. */
    if (!room && stream->avail_out == 0)
        return LIMIT;
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return INVALID;
    if (room)
        buf_commit(out, given - stream->avail_out);
    *is_done = rc == Z_BUF_ERROR || (stream->avail_in == 0 && stream->avail_out > 0);
    /* A block may say that it is the last one (7.2.3.4); what follows begins anew. */
    if (rc == Z_STREAM_END && inflateReset(stream) != Z_OK)
        return INVALID;
    return OK;
}

static enum status run(z_stream *stream, const unsigned char *data, size_t len, struct buf *out)
{
    bool is_done = false;
    enum status st = OK;

    stream->next_in = data;
    stream->avail_in = (unsigned)len;
    while (st == OK && !is_done)
        st = step(stream, out, &is_done);
    return st;
}

enum status inflater_add(struct inflater *inflater, const char *data, size_t len, bool is_last,
                         struct buf *out)
{
    static const unsigned char end[] = {0, 0, 0xff, 0xff}; /* which the sender has left out */
    enum status st = OK;

    if (len > 0)
        st = run(&inflater->stream, (const unsigned char *)data, len, out);
    if (st == OK && is_last)
        st = run(&inflater->stream, end, sizeof(end), out);
    return st;
}

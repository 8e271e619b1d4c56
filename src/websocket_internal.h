/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket_internal.h - what the files of the sockets share.
 *
 * websocket.c: the beginning, output, and the end of the turn.  websocket_input.c: what the sockets
 * report and what comes in.
 *
 * What runs for each socket or each frame and is called from both is here, to be inlined: after a
 * fan-out it runs thousands of times in one turn.
 */
#pragma once

#include <sys/epoll.h>

#include "buf.h"
#include "connections.h"
#include "expiry.h"
#include "frame.h"
#include "frame_reader.h"
#include "loop.h"
#include "websocket.h"

enum {
    WEBSOCKET_INPUT_BYTES = 64 * 1024, /* one read, of whichever socket */
    WEBSOCKET_READY_MOST = 1024 /* sockets per turn; the others are ready in the next one, too */
};

/* Bytes that were read when the connection was paused. */
struct unread {
    size_t at;
    size_t len;
    char bytes[];
};

struct pong {
    size_t len;
    char bytes[FRAME_CONTROL_BYTES];
};

/* One socket.  Made by websocket_adopt, freed at the end of the turn in which it was ended. */
struct stream {
    struct websocket *websocket;
    struct connection *connection; /* NULL: it has ended */
    struct stream *prev, *next;    /* of all, then of those that have ended */
    struct stream *dirty_next;
    struct expiry closing; /* from the decision to close on */
    struct frame_reader reader;
    struct inflater *inflater; /* from the first compressed message on */
    struct buf inflated;       /* what has come of a compressed message */
    struct unread *unread;     /* or NULL */
    struct pong *pong;         /* the newest that is due, or NULL */
    int fd;
    uint32_t interest; /* what epoll is to report */
    bool is_dirty;
    bool is_blocked;     /* the socket takes no more output for now */
    bool is_deaf;        /* what comes in is dropped: after an error, or the peer's close frame */
    bool is_peer_closed; /* its close frame came: the end is when ours is sent */
    bool is_last_queued; /* our close frame is in connection->out; nothing goes behind it */
    bool is_shut;        /* nothing more will be sent: the peer was told */
};

struct websocket {
    struct loop *loop;
    const struct config *config;
    struct gateway *gateway;
    struct metrics *metrics;
    int epoll_fd;
    struct watch *watch;
    struct deferred deferred; /* end_turn */
    struct stream *all;
    struct stream *ended;
    struct stream *dirty, *dirty_last; /* in the order in which they became so */
    struct expiry_queue closing;
    struct frame_limits limits;         /* without compression, */
    struct frame_limits deflate_limits; /* and with it */
    struct crypto_hasher *hasher;       /* for Sec-WebSocket-Accept */
    struct buf head;                    /* of the 101 that is being sent */
    struct epoll_event ready[WEBSOCKET_READY_MOST];
    char input[WEBSOCKET_INPUT_BYTES];
};

/* ---- for both ---- */

/* end_turn is to look at it. */
static inline void websocket_mark_dirty(struct stream *stream)
{
    struct websocket *websocket = stream->websocket;

    if (stream->is_dirty)
        return;
    stream->is_dirty = true;
    stream->dirty_next = NULL;
    if (websocket->dirty)
        websocket->dirty_last->dirty_next = stream;
    else
        websocket->dirty = stream;
    websocket->dirty_last = stream;
    loop_at_end_of_turn(websocket->loop, &websocket->deferred);
}

/* What we have begun to close is read on: the peer's close frame is what we wait for. */
static inline bool websocket_may_take(const struct stream *stream)
{
    const struct connection *connection = stream->connection;

    return connection && (!connection->is_paused || connection->has_close);
}

static inline bool websocket_may_read(const struct stream *stream)
{
    return websocket_may_take(stream) && !stream->is_peer_closed && !stream->unread;
}

/* ---- websocket.c ---- */

/* Closes the socket and tells the gateway; the rest of the stream is freed at the end of the turn.
 */
void websocket_end_stream(struct stream *stream);
/* Our close frame, behind what is queued. */
void websocket_queue_close(struct stream *stream, int code, const char *reason);

/* ---- websocket_input.c ---- */

/* The epoll instance has something; ctx is the struct websocket. */
void websocket_on_ready(void *ctx, int events);
/* For later: the bytes are copied, and taken at the end of the turn. */
void websocket_keep_unread(struct stream *stream, const char *data, size_t len);
/* There is something unread: takes as much of it as it may. */
void websocket_take_unread(struct stream *stream);

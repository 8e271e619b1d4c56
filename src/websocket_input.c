/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket_input.c - what the sockets report and what comes in on them: bytes, frames, messages.
 *
 * Input is read into one buffer for all of them and handed over from there; a socket keeps bytes of
 * its own only when a message is cut, or when it may not be read on (is_paused) in the middle of
 * them.
 */
#include "websocket_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "frame.h"
#include "gateway.h"
#include "inflater.h"
#include "json.h"

enum { READS_MOST = 4 /* of one socket before the others get their turn */ };

/* Closes for an error.  Behind it the peer's bytes have no meaning any more. */
static void refuse(struct stream *stream, int code, const char *reason)
{
    connection_close(stream->connection, code, reason);
    stream->is_deaf = true;
    frame_reader_done(&stream->reader);
    buf_done(&stream->inflated);
}

static void refuse_size(struct stream *stream, const char *what, size_t limit)
{
    char reason[CLOSE_REASON_BYTES];

    snprintf(reason, sizeof(reason), "Max %s length of %zu has been exceeded.", what, limit);
    refuse(stream, FRAME_CODE_TOO_BIG, reason);
}

static void deliver(struct stream *stream, const char *text, size_t len)
{
    if (!utf8_is_valid(text, len))
        refuse(stream, FRAME_CODE_BAD_TEXT, "Invalid UTF-8");
    else
        gateway_message(stream->websocket->gateway, stream->connection, text, len);
}

static void inflate_frame(struct stream *stream, const struct frame *frame)
{
    enum status status;

    if (!stream->inflater)
        stream->inflater = inflater_create();
    status =
        inflater_add(stream->inflater, frame->data, frame->len, frame->is_last, &stream->inflated);
    if (status == LIMIT) {
        refuse_size(stream, "message", stream->websocket->limits.message_bytes);
    } else if (status != OK) {
        refuse(stream, FRAME_CODE_BAD_TEXT, "Invalid compressed data");
    } else if (frame->is_last) {
        deliver(stream, stream->inflated.data ? stream->inflated.data : "", stream->inflated.len);
        buf_done(&stream->inflated);
    }
}

static void on_message(struct stream *stream, const struct frame *frame)
{
    if (stream->connection->has_close)
        return;
    if (frame->is_compressed)
        inflate_frame(stream, frame);
    else
        deliver(stream, frame->data, frame->len);
}

static void on_ping(struct stream *stream, const struct frame *frame)
{
    if (!stream->pong)
        stream->pong = mem_alloc(sizeof(*stream->pong));
    stream->pong->len = frame->len;
    memcpy(stream->pong->bytes, frame->data, frame->len);
    websocket_mark_dirty(stream);
    gateway_seen(stream->websocket->gateway, stream->connection);
}

/* What is queued goes first: the peer may still read, and it is in the same packet. */
static void on_peer_close(struct stream *stream, const struct frame *frame)
{
    struct connection *connection = stream->connection;
    struct frame_close close;

    stream->is_deaf = true;
    stream->is_peer_closed = true;
    websocket_mark_dirty(stream);
    if (connection->has_close) /* it is the answer to ours, or has crossed it */
        return;
    frame_read_close(frame->data, frame->len, &close);
    gateway_peer_close(stream->websocket->gateway, connection, close.code, close.reason);
    websocket_queue_close(stream, close.code, close.reason);
}

static void on_frame(struct stream *stream, enum frame_event event, const struct frame *frame)
{
    const struct frame_limits *limits = stream->reader.limits;

    switch (event) {
    case FRAME_NEEDS_MORE:
        break;
    case FRAME_MESSAGE:
        on_message(stream, frame);
        break;
    case FRAME_PING:
        on_ping(stream, frame);
        break;
    case FRAME_PONG:
        gateway_seen(stream->websocket->gateway, stream->connection);
        break;
    case FRAME_CLOSE:
        on_peer_close(stream, frame);
        break;
    case FRAME_BROKEN:
        refuse(stream, FRAME_CODE_PROTOCOL_ERROR, frame->reason);
        break;
    case FRAME_IS_BINARY:
        refuse(stream, FRAME_CODE_NOT_TEXT, "Binary is not supported");
        break;
    case FRAME_TOO_LARGE:
        refuse_size(stream, "frame", limits->frame_bytes);
        break;
    case FRAME_MESSAGE_TOO_LARGE:
        refuse_size(stream, "message", limits->message_bytes);
        break;
    }
}

/* Returns how many bytes at the end have to wait until the connection is not paused any more. */
static size_t take(struct stream *stream, struct frame_input input)
{
    enum frame_event event = FRAME_MESSAGE;
    struct frame frame;

    while (event != FRAME_NEEDS_MORE && !stream->is_deaf) {
        if (!websocket_may_take(stream))
            return input.len;
        event = frame_reader_next(&stream->reader, &input, &frame);
        on_frame(stream, event, &frame);
    }
    return 0;
}

void websocket_keep_unread(struct stream *stream, const char *data, size_t len)
{
    stream->unread = mem_alloc(sizeof(*stream->unread) + len);
    stream->unread->len = len;
    memcpy(stream->unread->bytes, data, len);
    websocket_mark_dirty(stream);
}

void websocket_take_unread(struct stream *stream)
{
    struct unread *unread = stream->unread;
    struct frame_input input = {unread->bytes + unread->at, unread->len - unread->at};

    unread->at = unread->len - take(stream, input);
    if (unread->at < unread->len)
        return;
    free(unread);
    stream->unread = NULL;
}

static void on_readable(struct stream *stream)
{
    struct websocket *websocket = stream->websocket;
    size_t left;
    ssize_t n = WEBSOCKET_INPUT_BYTES;

    for (int i = 0; i < READS_MOST && n == WEBSOCKET_INPUT_BYTES && websocket_may_read(stream);
         i++) {
        n = recv(stream->fd, websocket->input, WEBSOCKET_INPUT_BYTES, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            websocket_end_stream(stream);
            return;
        }
        left = n > 0 ? take(stream, (struct frame_input){websocket->input, (size_t)n}) : 0;
        if (left > 0)
            websocket_keep_unread(stream, websocket->input + n - left, left);
    }
}

/* A socket that is not read reports that it is broken all the same, again and again. */
static void on_event(struct stream *stream, uint32_t events)
{
    if (!stream->connection)
        return;
    if (events & EPOLLOUT) {
        stream->is_blocked = false;
        websocket_mark_dirty(stream);
    }
    if ((events & ~(uint32_t)EPOLLOUT) && websocket_may_read(stream))
        on_readable(stream);
    else if (events & (EPOLLERR | EPOLLHUP))
        websocket_end_stream(stream);
}

void websocket_on_ready(void *ctx, int events)
{
    struct websocket *websocket = ctx;
    int n = epoll_wait(websocket->epoll_fd, websocket->ready, WEBSOCKET_READY_MOST, 0);

    (void)events;
    for (int i = 0; i < n; i++)
        on_event(websocket->ready[i].data.ptr, websocket->ready[i].events);
}

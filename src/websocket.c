/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.c - RFC 6455 on adopted sockets: their beginning, their output and their end.
 *
 * All sockets are in an epoll instance of their own, which the loop watches as one descriptor: a
 * turn asks it once for everything that is ready (websocket_input.c).
 *
 * Nothing is written, and nothing freed, where it arises: end_turn does both, for what was marked.
 */
#include "websocket_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base64url.h"
#include "config.h"
#include "crypto.h"
#include "frame.h"
#include "gateway.h"
#include "inflater.h"
#include "log.h"
#include "metrics.h"

enum {
    KEPT_BYTES = 4096, /* a drained output buffer that is larger is freed */
    HEAD_BYTES = 4096, /* of a 101 */
    KEY_BYTES_MOST = 64
};

static void on_output(struct connection *connection);
static void on_flow(struct connection *connection, bool may_read);

static const struct socket_ops socket_ops = {.on_output = on_output, .on_flow = on_flow};

/* ---- the end of the turn ---- */

static void on_output(struct connection *connection)
{
    websocket_mark_dirty(connection->socket);
}

static void on_flow(struct connection *connection, bool may_read)
{
    (void)may_read; /* it is in is_paused already */
    websocket_mark_dirty(connection->socket);
}

static void unlink_stream(struct stream *stream)
{
    if (stream->prev)
        stream->prev->next = stream->next;
    else
        stream->websocket->all = stream->next;
    if (stream->next)
        stream->next->prev = stream->prev;
}

static void free_stream(struct stream *stream)
{
    frame_reader_done(&stream->reader);
    inflater_free(stream->inflater);
    buf_done(&stream->inflated);
    free(stream->unread);
    free(stream->pong);
    free(stream);
}

/* Closing the descriptor takes it out of the epoll instance; what that has reported already finds
 * a stream without a connection.  It may be on the stack of our caller, with its buffers. */
void websocket_end_stream(struct stream *stream)
{
    struct websocket *websocket = stream->websocket;
    struct connection *connection = stream->connection;

    assert(connection);
    expiry_remove(&stream->closing);
    close(stream->fd);
    unlink_stream(stream);
    stream->next = websocket->ended;
    websocket->ended = stream;
    loop_at_end_of_turn(websocket->loop, &websocket->deferred);
    stream->connection = NULL;
    buf_done(&connection->out);
    connection->out_sent = 0;
    connection->out_owed = 0;
    connection->socket = NULL;
    connection->socket_ops = NULL;
    connection->is_output_pending = false;
    gateway_closed(websocket->gateway, connection);
}

/* ---- output ---- */

/* Between two frames, in front of what waits: but behind the rest of the frame that was begun. */
static void insert_pong(struct stream *stream)
{
    struct connection *connection = stream->connection;
    struct buf *out = &connection->out;
    struct pong *pong = stream->pong;
    unsigned char head[FRAME_HEAD_BYTES];
    size_t head_len = frame_write_head(head, FRAME_FIN | FRAME_PONG_OPCODE, pong->len);
    size_t size = head_len + pong->len;
    size_t behind;
    char *to;

    if (connection_make_room(connection, size)) { /* else it reads nothing: why answer it */
        behind = out->len - connection->out_sent - connection->out_owed;
        to = buf_reserve(out, size) - behind;
        memmove(to + size, to, behind);
        memcpy(to, head, head_len);
        memcpy(to + head_len, pong->bytes, pong->len);
        buf_commit(out, size);
    }
    free(pong);
    stream->pong = NULL;
}

/* Nothing is queued any more once a connection is closing, so its limit has no meaning. */
void websocket_queue_close(struct stream *stream, int code, const char *reason)
{
    stream->connection->out.limit = SIZE_MAX;
    frame_write_close(&stream->connection->out, code, reason);
    stream->is_last_queued = true;
}

/* Messages that are too long for output_frame_bytes; what is in fragments already stays so. */
static void cut_output(struct stream *stream, size_t most)
{
    struct connection *connection = stream->connection;
    struct buf *out = &connection->out;
    size_t at = connection->out_sent + connection->out_owed;
    struct buf cut;

    if (out->len - at <= most || !frame_is_longer(out->data + at, out->len - at, most))
        return;
    buf_init(&cut, SIZE_MAX);
    buf_add(&cut, out->data + connection->out_sent, connection->out_owed);
    frame_cut(out->data + at, out->len - at, most, &cut);
    cut.limit = out->limit;
    buf_done(out);
    *out = cut;
    connection->out_sent = 0;
}

static void prepare_output(struct stream *stream)
{
    const struct connection *connection = stream->connection;
    size_t most = (size_t)stream->websocket->config->output_frame_bytes;

    if (connection->has_close && !stream->is_last_queued)
        websocket_queue_close(stream, connection->close_code, connection->close_reason);
    if (stream->pong && !stream->is_blocked && !stream->is_last_queued)
        insert_pong(stream);
    if (most > 0)
        cut_output(stream, most);
}

/* The socket has taken n bytes.  When that is not all, the frame that was begun has to be ended
 * before another one may begin. */
static void account(struct stream *stream, size_t n)
{
    struct connection *connection = stream->connection;
    struct buf *out = &connection->out;
    size_t boundary = connection->out_sent + connection->out_owed;

    stream->websocket->metrics->bytes_out += n;
    connection->out_sent += n;
    if (connection->out_sent < out->len) {
        while (boundary < connection->out_sent)
            boundary += frame_size(out->data + boundary);
        connection->out_owed = boundary - connection->out_sent;
        stream->is_blocked = true;
        return;
    }
    connection->out_sent = 0;
    connection->out_owed = 0;
    buf_clear(out);
    if (out->cap > KEPT_BYTES)
        buf_done(out);
}

/* Everything with one call.  False: the socket is broken. */
static bool send_output(struct stream *stream)
{
    const struct connection *connection = stream->connection;
    const struct buf *out = &connection->out;
    ssize_t n;

    if (stream->is_blocked || out->len == 0)
        return true;
    do
        n = send(stream->fd, out->data + connection->out_sent, out->len - connection->out_sent,
                 MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return false;
    account(stream, n > 0 ? (size_t)n : 0);
    return true;
}

static void update_interest(struct stream *stream)
{
    uint32_t wanted = (websocket_may_read(stream) ? (uint32_t)EPOLLIN : 0) |
                      (stream->is_blocked ? (uint32_t)EPOLLOUT : 0);
    struct epoll_event event = {.events = wanted, .data = {.ptr = stream}};

    if (wanted == stream->interest)
        return;
    (void)epoll_ctl(stream->websocket->epoll_fd, EPOLL_CTL_MOD, stream->fd, &event);
    stream->interest = wanted;
}

/* When everything is sent, the close frame included.  After an error the peer may still be sending:
 * closing the socket on that would reset it, and the reset overtakes the close frame.  So it is
 * told that there is nothing more, and what it sends is dropped until it closes. */
static void go_on_closing(struct stream *stream)
{
    if (stream->is_peer_closed) {
        websocket_end_stream(stream);
        return;
    }
    if (stream->is_deaf && !stream->is_shut)
        (void)shutdown(stream->fd, SHUT_WR);
    stream->is_shut = stream->is_deaf;
}

/* The clock for the peer runs from the decision to close, since a peer that does not read would
 * never get as far as the close frame. */
static void follow_up(struct stream *stream)
{
    if (stream->is_last_queued && !stream->closing.queue)
        expiry_add(&stream->websocket->closing, &stream->closing);
    if (stream->is_last_queued && stream->connection->out.len == 0)
        go_on_closing(stream);
    if (stream->connection)
        update_interest(stream);
}

static void flush(struct stream *stream)
{
    prepare_output(stream);
    if (send_output(stream))
        follow_up(stream);
    else
        websocket_end_stream(stream);
}

static void on_close_time_over(void *ctx, struct expiry *expiry)
{
    struct stream *stream = CONTAINER_OF(expiry, struct stream, closing);

    (void)ctx;
    log_debug("websocket.close_timeout", "connection=%s", connection_tag(stream->connection));
    websocket_end_stream(stream);
}

/* After a fan-out all of them are dirty, and none is in the cache any more. */
static void prefetch_next(const struct stream *stream)
{
    const struct stream *next = stream->dirty_next;

    if (!next)
        return;
    connection_prefetch(next->connection);
    if (next->dirty_next) {
        __builtin_prefetch(next->dirty_next, 1);
        __builtin_prefetch((const char *)next->dirty_next + CACHE_LINE_BYTES, 1);
        __builtin_prefetch((const char *)next->dirty_next + 2 * CACHE_LINE_BYTES, 1);
    }
}

static void end_turn(void *ctx)
{
    struct websocket *websocket = ctx;
    struct stream *stream;

    while ((stream = websocket->dirty)) {
        if (stream->connection && stream->unread)
            websocket_take_unread(stream);
        websocket->dirty = stream->dirty_next;
        prefetch_next(stream);
        stream->is_dirty = false;
        if (!stream->connection)
            continue;
        stream->connection->is_output_pending = false;
        flush(stream);
    }
    while ((stream = websocket->ended)) {
        websocket->ended = stream->next;
        free_stream(stream);
    }
}

/* ---- the beginning ---- */

/* RFC 6455, section 4.2.2, number 5.4. */
static void add_accept(struct websocket *websocket, const struct websocket_adoption *adoption)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_BYTES_MOST + sizeof(guid)];
    unsigned char hash[CRYPTO_HASH_BYTES_MOST];
    size_t hash_len;

    assert(adoption->key_len <= KEY_BYTES_MOST); /* the listener takes right ones only */
    memcpy(text, adoption->key, adoption->key_len);
    memcpy(text + adoption->key_len, guid, sizeof(guid) - 1);
    hash_len =
        crypto_hasher_digest(websocket->hasher, text, adoption->key_len + sizeof(guid) - 1, hash);
    base64_add(&websocket->head, hash, hash_len);
}

static void write_head(struct websocket *websocket, const struct websocket_adoption *adoption)
{
    struct buf *head = &websocket->head;

    buf_clear(head);
    buf_adds(head, "HTTP/1.1 101 Switching Protocols\r\n"
                   "Upgrade: websocket\r\n"
                   "Connection: Upgrade\r\n"
                   "Sec-WebSocket-Accept: ");
    add_accept(websocket, adoption);
    if (adoption->may_compress)
        buf_adds(head, "\r\nSec-WebSocket-Extensions: permessage-deflate");
    buf_adds(head, "\r\ndate: ");
    buf_adds(head, adoption->date);
    if (adoption->subprotocol) {
        buf_adds(head, "\r\nsec-websocket-protocol: ");
        buf_adds(head, adoption->subprotocol);
    }
    buf_adds(head, "\r\n\r\n");
}

/* The head and what is queued, with one call.  False: it could not be sent as a whole. */
static bool send_head(struct stream *stream, const struct websocket_adoption *adoption)
{
    const struct buf *out = &stream->connection->out;
    const struct buf *head = &stream->websocket->head;
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = out->len > 0 ? 2 : 1};
    ssize_t n;

    write_head(stream->websocket, adoption);
    if (buf_full(head))
        return false;
    parts[0] = (struct iovec){.iov_base = head->data, .iov_len = head->len};
    parts[1] = (struct iovec){.iov_base = out->data, .iov_len = out->len};
    do
        n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < (ssize_t)head->len)
        return false;
    account(stream, (size_t)n - head->len);
    return true;
}

/* Reported from now on, as soon as the loop turns. */
static bool watch_stream(struct stream *stream)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = stream}};

    stream->interest = EPOLLIN;
    return epoll_ctl(stream->websocket->epoll_fd, EPOLL_CTL_ADD, stream->fd, &event) == 0;
}

static struct stream *create_stream(struct websocket *websocket,
                                    const struct websocket_adoption *adoption)
{
    struct stream *stream = mem_alloc(sizeof(*stream));

    stream->websocket = websocket;
    stream->connection = adoption->connection;
    stream->fd = adoption->fd;
    frame_reader_init(&stream->reader,
                      adoption->may_compress ? &websocket->deflate_limits : &websocket->limits);
    buf_init(&stream->inflated, websocket->limits.message_bytes);
    return stream;
}

enum status websocket_adopt(struct websocket *websocket, const struct websocket_adoption *adoption,
                            struct error *err)
{
    struct connection *connection = adoption->connection;
    struct stream *stream = create_stream(websocket, adoption);

    prepare_output(stream);
    if (!watch_stream(stream) || !send_head(stream, adoption)) {
        close(stream->fd);
        free_stream(stream);
        return fail(err, UNAVAILABLE, "the handshake could not be answered");
    }
    connection->socket = stream;
    connection->socket_ops = &socket_ops;
    stream->next = websocket->all;
    if (stream->next)
        stream->next->prev = stream;
    websocket->all = stream;
    gateway_opened(websocket->gateway, connection);
    if (adoption->early_len > 0)
        websocket_keep_unread(stream, adoption->early, adoption->early_len);
    follow_up(stream);
    return OK;
}

static struct frame_limits limits_of(const struct config *config, bool may_compress)
{
    return (struct frame_limits){.frame_bytes = (size_t)config->max_frame_bytes,
                                 .message_bytes = (size_t)config->max_message_bytes,
                                 .may_compress = may_compress};
}

struct websocket *websocket_create(struct loop *loop, const struct config *config,
                                   struct gateway *gateway, struct metrics *metrics,
                                   struct error *err)
{
    struct websocket *websocket = mem_alloc(sizeof(*websocket));

    websocket->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (websocket->epoll_fd < 0) {
        fail(err, INTERNAL, "epoll: %s", strerror(errno));
        free(websocket);
        return NULL;
    }
    websocket->loop = loop;
    websocket->config = config;
    websocket->gateway = gateway;
    websocket->metrics = metrics;
    websocket->limits = limits_of(config, false);
    websocket->deflate_limits = limits_of(config, true);
    websocket->deferred = (struct deferred){.fn = end_turn, .ctx = websocket};
    websocket->hasher = crypto_hasher_create(CRYPTO_SHA1);
    buf_init(&websocket->head, HEAD_BYTES);
    expiry_init(&websocket->closing, loop, config->close_timeout_ms, on_close_time_over, websocket);
    websocket->watch =
        loop_watch(loop, websocket->epoll_fd, LOOP_READ, websocket_on_ready, websocket);
    return websocket;
}

void websocket_free(struct websocket *websocket)
{
    while (websocket->all)
        websocket_end_stream(websocket->all);
    end_turn(websocket);
    loop_undefer(websocket->loop, &websocket->deferred);
    expiry_done(&websocket->closing);
    loop_unwatch(websocket->watch);
    close(websocket->epoll_fd);
    crypto_hasher_free(websocket->hasher);
    buf_done(&websocket->head);
    free(websocket);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.c - RFC 6455 on adopted sockets.
 *
 * All sockets are in an epoll instance of their own, which the loop watches as one descriptor: a
 * turn asks it once for everything that is ready.  Input is read into one buffer for all of them
 * and handed over from there; a socket keeps bytes of its own only when a message is cut, or when
 * it may not be read on (is_paused) in the middle of them.
 *
 * Nothing is written, and nothing freed, where it arises: end_turn does both, for what was marked.
 */
#include "websocket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base64url.h"
#include "config.h"
#include "connections.h"
#include "crypto.h"
#include "expiry.h"
#include "frame.h"
#include "frame_reader.h"
#include "gateway.h"
#include "inflater.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"

enum {
    INPUT_BYTES = 64 * 1024, /* one read, of whichever socket */
    READS_MOST = 4,          /* of one socket before the others get their turn */
    READY_MOST = 1024,       /* sockets per turn; the others are ready in the next one, too */
    KEPT_BYTES = 4096,       /* a drained output buffer that is larger is freed */
    HEAD_BYTES = 4096,       /* of a 101 */
    KEY_BYTES_MOST = 64
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
    struct epoll_event ready[READY_MOST];
    char input[INPUT_BYTES];
};

static void on_output(struct connection *connection);
static void on_flow(struct connection *connection, bool may_read);

static const struct socket_ops socket_ops = {.on_output = on_output, .on_flow = on_flow};

/* ---- the end of the turn ---- */

static void mark_dirty(struct stream *stream)
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

static void on_output(struct connection *connection)
{
    mark_dirty(connection->socket);
}

static void on_flow(struct connection *connection, bool may_read)
{
    (void)may_read; /* it is in is_paused already */
    mark_dirty(connection->socket);
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
static void end_stream(struct stream *stream)
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
static void queue_close(struct stream *stream, int code, const char *reason)
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
        queue_close(stream, connection->close_code, connection->close_reason);
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

/* What we have begun to close is read on: the peer's close frame is what we wait for. */
static bool may_take(const struct stream *stream)
{
    const struct connection *connection = stream->connection;

    return connection && (!connection->is_paused || connection->has_close);
}

static bool may_read(const struct stream *stream)
{
    return may_take(stream) && !stream->is_peer_closed && !stream->unread;
}

static void update_interest(struct stream *stream)
{
    uint32_t wanted =
        (may_read(stream) ? (uint32_t)EPOLLIN : 0) | (stream->is_blocked ? (uint32_t)EPOLLOUT : 0);
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
        end_stream(stream);
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
        end_stream(stream);
}

static void on_close_time_over(void *ctx, struct expiry *expiry)
{
    struct stream *stream = CONTAINER_OF(expiry, struct stream, closing);

    (void)ctx;
    log_debug("websocket.close_timeout", "connection=%s", connection_tag(stream->connection));
    end_stream(stream);
}

/* ---- input ---- */

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
    mark_dirty(stream);
    gateway_seen(stream->websocket->gateway, stream->connection);
}

/* What is queued goes first: the peer may still read, and it is in the same packet. */
static void on_peer_close(struct stream *stream, const struct frame *frame)
{
    struct connection *connection = stream->connection;
    struct frame_close close;

    stream->is_deaf = true;
    stream->is_peer_closed = true;
    mark_dirty(stream);
    if (connection->has_close) /* it is the answer to ours, or has crossed it */
        return;
    frame_read_close(frame->data, frame->len, &close);
    gateway_peer_close(stream->websocket->gateway, connection, close.code, close.reason);
    queue_close(stream, close.code, close.reason);
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
        if (!may_take(stream))
            return input.len;
        event = frame_reader_next(&stream->reader, &input, &frame);
        on_frame(stream, event, &frame);
    }
    return 0;
}

static void keep_unread(struct stream *stream, const char *data, size_t len)
{
    stream->unread = mem_alloc(sizeof(*stream->unread) + len);
    stream->unread->len = len;
    memcpy(stream->unread->bytes, data, len);
    mark_dirty(stream);
}

static void take_unread(struct stream *stream)
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
    ssize_t n = INPUT_BYTES;

    for (int i = 0; i < READS_MOST && n == INPUT_BYTES && may_read(stream); i++) {
        n = recv(stream->fd, websocket->input, INPUT_BYTES, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            end_stream(stream);
            return;
        }
        left = n > 0 ? take(stream, (struct frame_input){websocket->input, (size_t)n}) : 0;
        if (left > 0)
            keep_unread(stream, websocket->input + n - left, left);
    }
}

/* A socket that is not read reports that it is broken all the same, again and again. */
static void on_event(struct stream *stream, uint32_t events)
{
    if (!stream->connection)
        return;
    if (events & EPOLLOUT) {
        stream->is_blocked = false;
        mark_dirty(stream);
    }
    if ((events & ~(uint32_t)EPOLLOUT) && may_read(stream))
        on_readable(stream);
    else if (events & (EPOLLERR | EPOLLHUP))
        end_stream(stream);
}

static void on_ready(void *ctx, int events)
{
    struct websocket *websocket = ctx;
    int n = epoll_wait(websocket->epoll_fd, websocket->ready, READY_MOST, 0);

    (void)events;
    for (int i = 0; i < n; i++)
        on_event(websocket->ready[i].data.ptr, websocket->ready[i].events);
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
            take_unread(stream);
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
        keep_unread(stream, adoption->early, adoption->early_len);
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
    websocket->watch = loop_watch(loop, websocket->epoll_fd, LOOP_READ, on_ready, websocket);
    return websocket;
}

void websocket_free(struct websocket *websocket)
{
    while (websocket->all)
        end_stream(websocket->all);
    end_turn(websocket);
    loop_undefer(websocket->loop, &websocket->deferred);
    expiry_done(&websocket->closing);
    loop_unwatch(websocket->watch);
    close(websocket->epoll_fd);
    crypto_hasher_free(websocket->hasher);
    buf_done(&websocket->head);
    free(websocket);
}

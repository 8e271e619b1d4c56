/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.c - libwebsockets 4.1 as a guest on the loop.
 *
 * What had to be found out about it, because it decides how this file looks:
 *
 * - Its buffer is shared: no call may make it parse something while it is inside a callback. Output
 *   is therefore written at the end of the turn, never where it arises.
 * - What lws_write could not send is copied and sent later, and a pong may go in between two such
 *   writes: so each of our writes ends where a frame ends.
 * - A close frame of the peer that arrives while something is still buffered ends the connection
 *   without telling us the code: so we stop reading while something is buffered.
 * - It does not tell about pings, but calls WRITEABLE once after each pong it has sent.
 * - Its permessage-deflate mixes up whose window is whose, and messages get stuck in it: so it is
 *   given an extension that does nothing, and compressed messages are inflated here.
 * - Its own closing handshake has fixed times and no timer when the loop is quiet: so we write our
 *   close frames ourselves and keep the time.
 */
#include "websocket.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libwebsockets.h>

#include "config.h"
#include "connections.h"
#include "expiry.h"
#include "frame.h"
#include "gateway.h"
#include "inflater.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"

enum {
    RX_BYTES = 512,           /* memory of an idle connection is mostly this */
    WRITE_BYTES = 64 * 1024,  /* one write, unless a frame is larger */
    SEND_BYTES = 1024 * 1024, /* what libwebsockets passes to send(2) at most */
    KEPT_BYTES = 4096,        /* a drained output buffer that is larger is freed */
    CONTROL_BYTES = 125,      /* RFC 6455, section 5.5 */
    HEAD_BYTES = 512,         /* of the request that we write for libwebsockets */
    LIBRARY_HEADERS_POOL = 4, /* handshakes are synchronous: one would do */
    RSV1 = 0x40,              /* in what lws_get_reserved_bits() returns */
    CLOSE_PROTOCOL_ERROR = 1002,
    CLOSE_NOT_TEXT = 1003,
    CLOSE_NO_CODE = 1005,
    CLOSE_BAD_TEXT = 1007,
    CLOSE_TOO_BIG = 1009
};

/* One socket, in libwebsockets' per-connection memory.  connection is NULL before the 101 and after
 * the end. */
struct stream {
    struct websocket *websocket;
    struct lws *wsi;
    struct connection *connection;
    struct stream *dirty_prev, *dirty_next;
    struct expiry closing;     /* from has_close on */
    struct buf message;        /* a message that is not complete yet */
    size_t frame_left;         /* bytes of the current frame that have not come */
    struct inflater *inflater; /* from the first compressed message on */
    bool may_inflate;          /* the client may compress */
    bool is_compressed;        /* the message that is coming in */
    bool is_dirty;
    bool is_writeable_due; /* libwebsockets still has output of ours: WRITEABLE will follow */
    bool is_close_sent;
    bool is_library_closing; /* after an error of protocol */
};

struct websocket {
    struct loop *loop;
    const struct config *config;
    struct gateway *gateway;
    struct metrics *metrics;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct deferred flush;
    struct stream *dirty;
    struct expiry_queue closing;
    const struct websocket_adoption *adoption; /* during websocket_adopt */
    bool is_adopted;
};

static void on_output(struct connection *connection);
static void on_flow(struct connection *connection, bool may_read);

static const struct socket_ops socket_ops = {.on_output = on_output, .on_flow = on_flow};

/* ---- output ---- */

static void mark_dirty(struct stream *stream)
{
    struct websocket *websocket = stream->websocket;

    if (stream->is_dirty)
        return;
    stream->is_dirty = true;
    stream->dirty_next = websocket->dirty;
    if (websocket->dirty)
        websocket->dirty->dirty_prev = stream;
    websocket->dirty = stream;
    loop_at_end_of_turn(websocket->loop, &websocket->flush);
}

static void unmark_dirty(struct stream *stream)
{
    if (!stream->is_dirty)
        return;
    if (stream->dirty_prev)
        stream->dirty_prev->dirty_next = stream->dirty_next;
    else
        stream->websocket->dirty = stream->dirty_next;
    if (stream->dirty_next)
        stream->dirty_next->dirty_prev = stream->dirty_prev;
    stream->dirty_prev = NULL;
    stream->dirty_next = NULL;
    stream->is_dirty = false;
}

static void on_output(struct connection *connection)
{
    mark_dirty(connection->socket);
}

/* What we have begun to close is read on: the peer's close frame is what we wait for. */
static void apply_flow(struct stream *stream)
{
    bool may_read = stream->connection->has_close ||
                    (!stream->connection->is_paused && !stream->is_writeable_due);

    lws_rx_flow_control(stream->wsi, may_read ? 1 : 0);
}

static void on_flow(struct connection *connection, bool may_read)
{
    (void)may_read; /* it is in is_paused already */
    apply_flow(connection->socket);
}

/* The whole frames from data that one write should take. */
static size_t next_write(const char *data, size_t len)
{
    size_t n;

    if (len <= WRITE_BYTES)
        return len;
    n = frame_size(data);
    while (n < len && n + frame_size(data + n) <= WRITE_BYTES)
        n += frame_size(data + n);
    return n;
}

/* One raw write of whole frames.  False: the socket is broken. */
static bool write_raw(struct stream *stream, char *data, size_t len)
{
    int n = lws_write(stream->wsi, (unsigned char *)data, len, LWS_WRITE_HTTP);

    if (n < (int)len)
        return false;
    stream->websocket->metrics->bytes_out += len;
    if (lws_partial_buffered(stream->wsi)) {
        stream->is_writeable_due = true;
        apply_flow(stream);
    }
    return true;
}

/* One write of a frame, or of a fragment of it; *done moves on. */
static bool write_fragment(struct stream *stream, struct buf *out, size_t most, size_t *done)
{
    struct frame_cut cut;
    bool is_good;

    frame_cut(out->data + *done, most, &cut);
    is_good = write_raw(stream, cut.first, cut.first_len);
    *done = (size_t)((cut.rest ? frame_continue(&cut) : cut.first + cut.first_len) - out->data);
    return is_good;
}

/* Writes until libwebsockets has to buffer.  False: the socket is broken. */
static bool write_out(struct stream *stream)
{
    struct buf *out = &stream->connection->out;
    size_t most = (size_t)stream->websocket->config->output_frame_bytes;
    size_t done = 0;
    bool is_good = true;

    while (is_good && done < out->len && !stream->is_writeable_due) {
        size_t n;

        if (most > 0) {
            is_good = write_fragment(stream, out, most, &done);
            continue;
        }
        n = next_write(out->data + done, out->len - done);
        is_good = write_raw(stream, out->data + done, n);
        done += n;
    }
    buf_drop_front(out, done);
    if (out->len == 0 && out->cap > KEPT_BYTES)
        buf_done(out);
    return is_good;
}

static bool write_close(struct stream *stream, const char *payload, size_t len)
{
    char frame[2 + CONTROL_BYTES];

    assert(len <= CONTROL_BYTES);
    frame[0] = (char)0x88; /* FIN, opcode 8 */
    frame[1] = (char)len;
    memcpy(frame + 2, payload, len);
    stream->is_close_sent = true;
    return write_raw(stream, frame, 2 + len);
}

static size_t close_payload(char payload[CONTROL_BYTES], int code, const char *reason)
{
    size_t len = strlen(reason);

    if (len > CONTROL_BYTES - 2)
        len = CONTROL_BYTES - 2;
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    memcpy(payload + 2, reason, len);
    return 2 + len;
}

static bool write_our_close(struct stream *stream)
{
    const struct connection *connection = stream->connection;
    char payload[CONTROL_BYTES];
    size_t len = close_payload(payload, connection->close_code, connection->close_reason);

    return write_close(stream, payload, len);
}

/* What is queued, then the close frame; the clock for the peer runs from the decision to close,
 * since a peer that does not read would never get as far as the frame.  False: broken. */
static bool flush(struct stream *stream)
{
    const struct connection *connection = stream->connection;

    if (stream->is_library_closing || stream->is_close_sent)
        return true;
    if (!write_out(stream))
        return false;
    if (!connection->has_close)
        return true;
    if (!stream->closing.queue) {
        expiry_add(&stream->websocket->closing, &stream->closing);
        apply_flow(stream);
    }
    return stream->is_writeable_due || write_our_close(stream);
}

/* libwebsockets finds out at once, and cannot keep the socket to send what it has buffered. */
static void kill_stream(struct stream *stream)
{
    (void)shutdown(lws_get_socket_fd(stream->wsi), SHUT_RDWR);
    lws_rx_flow_control(stream->wsi, 1);
}

static void flush_dirty(void *ctx)
{
    struct websocket *websocket = ctx;

    while (websocket->dirty) {
        struct stream *stream = websocket->dirty;

        unmark_dirty(stream);
        stream->connection->is_output_pending = false;
        if (!flush(stream))
            kill_stream(stream);
    }
}

static void on_close_time_over(void *ctx, struct expiry *expiry)
{
    struct stream *stream = CONTAINER_OF(expiry, struct stream, closing);

    (void)ctx;
    log_debug("websocket.close_timeout", "connection=%s", connection_tag(stream->connection));
    kill_stream(stream);
}

/* -1 ends the connection. */
static int on_writeable(struct stream *stream)
{
    if (!stream->is_writeable_due) {
        gateway_seen(stream->websocket->gateway, stream->connection); /* a ping was answered */
        return 0;
    }
    stream->is_writeable_due = lws_partial_buffered(stream->wsi) != 0;
    if (stream->is_writeable_due)
        return 0;
    if (!flush(stream))
        return -1;
    apply_flow(stream);
    return 0;
}

/* ---- input ---- */

static void refuse_size(struct connection *connection, const char *what, int64_t limit)
{
    char reason[CLOSE_REASON_BYTES];

    snprintf(reason, sizeof(reason), "Max %s length of %lld has been exceeded.", what,
             (long long)limit);
    connection_close(connection, CLOSE_TOO_BIG, reason);
}

static void refuse_message(struct stream *stream)
{
    refuse_size(stream->connection, "message", stream->websocket->config->max_message_bytes);
}

static void deliver(struct stream *stream, const char *text, size_t len)
{
    if (!utf8_is_valid(text, len)) {
        connection_close(stream->connection, CLOSE_BAD_TEXT, "Invalid UTF-8");
        return;
    }
    gateway_message(stream->websocket->gateway, stream->connection, text, len);
}

/* False when the frame is refused: the connection is closing then. */
static bool is_frame_allowed(struct stream *stream, size_t len, size_t left)
{
    const struct config *config = stream->websocket->config;
    bool is_first = stream->frame_left == 0; /* the first part of the frame */

    stream->frame_left = left;
    if (lws_frame_is_binary(stream->wsi)) {
        connection_close(stream->connection, CLOSE_NOT_TEXT, "Binary is not supported");
        return false;
    }
    if (is_first && len + left > (size_t)config->max_frame_bytes) {
        refuse_size(stream->connection, "frame", config->max_frame_bytes);
        return false;
    }
    if (!stream->is_compressed &&
        stream->message.len + len + left > (size_t)config->max_message_bytes) {
        refuse_message(stream);
        return false;
    }
    return true;
}

/* False when the message is refused: the connection is closing then. */
static bool inflate_part(struct stream *stream, const char *data, size_t len, bool is_end)
{
    enum status st;

    if (!stream->inflater)
        stream->inflater = inflater_create();
    st = inflater_add(stream->inflater, data, len, is_end, &stream->message);
    if (st == LIMIT)
        refuse_message(stream);
    else if (st != OK)
        connection_close(stream->connection, CLOSE_BAD_TEXT, "Invalid compressed data");
    return st == OK;
}

/* A part of a frame of a message; most messages are one part. */
static void on_receive(struct stream *stream, const char *data, size_t len)
{
    size_t left = lws_remaining_packet_payload(stream->wsi);
    bool is_end = lws_is_final_fragment(stream->wsi) != 0;
    bool is_good = true;

    if (stream->connection->has_close || stream->is_library_closing)
        return;
    if (stream->may_inflate && lws_is_first_fragment(stream->wsi))
        stream->is_compressed = (lws_get_reserved_bits(stream->wsi) & RSV1) != 0;
    if (!is_frame_allowed(stream, len, left)) {
        buf_done(&stream->message);
        return;
    }
    if (is_end && stream->message.len == 0 && !stream->is_compressed) {
        deliver(stream, data ? data : "", len);
        return;
    }
    if (stream->is_compressed)
        is_good = inflate_part(stream, data, len, is_end);
    else
        buf_add(&stream->message, data, len);
    if (is_good && !is_end)
        return;
    if (is_good)
        deliver(stream, stream->message.data ? stream->message.data : "", stream->message.len);
    buf_done(&stream->message);
}

/* ---- the end ---- */

struct peer_close {
    int code;
    char reason[CLOSE_REASON_BYTES];
    char payload[CONTROL_BYTES]; /* of our answer */
    size_t payload_len;
};

/* RFC 6455, sections 7.1.5 to 7.1.6; the answer is what came, unless that is broken.  libwebsockets
 * has replaced codes that must not be sent by 1002 (and 1012 to 1014 too, which it does not know).
 */
static void read_peer_close(struct peer_close *close, const unsigned char *data, size_t len)
{
    size_t reason_len = len > 2 ? len - 2 : 0;

    *close = (struct peer_close){.code = CLOSE_NO_CODE};
    if (len == 0) {
        snprintf(close->reason, sizeof(close->reason), "Client-side close frame status not set");
        return;
    }
    if (len == 1 || len > CONTROL_BYTES) {
        close->code = CLOSE_PROTOCOL_ERROR;
        close->payload_len = close_payload(close->payload, close->code, "");
        return;
    }
    if (!utf8_is_valid((const char *)data + 2, reason_len)) {
        close->code = CLOSE_BAD_TEXT;
        close->payload_len = close_payload(close->payload, close->code, "");
        return;
    }
    close->code = data[0] << 8 | data[1];
    memcpy(close->reason, data + 2, reason_len);
    memcpy(close->payload, data, len);
    close->payload_len = len;
}

/* Always -1: what has to be said is said, and libwebsockets only has to close.  What is queued goes
 * first: the peer may still read, and it is in the same packet. */
static int on_peer_close(struct stream *stream, const unsigned char *data, size_t len)
{
    struct peer_close close;
    bool is_ours = stream->connection->has_close;
    bool is_good;

    if (stream->is_close_sent)
        return -1;
    if (is_ours) {
        if (write_out(stream) && !stream->is_writeable_due)
            (void)write_our_close(stream);
        return -1;
    }
    read_peer_close(&close, data, len);
    is_good = write_out(stream) && !stream->is_writeable_due;
    gateway_peer_close(stream->websocket->gateway, stream->connection, close.code, close.reason);
    if (is_good)
        (void)write_close(stream, close.payload, close.payload_len);
    return -1;
}

/* libwebsockets has found an error of protocol and sends the close frame for it. */
static void on_library_close(struct stream *stream)
{
    struct peer_close close;

    if (lws_get_close_length(stream->wsi) < 2 || stream->connection->has_close)
        return;
    stream->is_library_closing = true;
    read_peer_close(&close, lws_get_close_payload(stream->wsi),
                    (size_t)lws_get_close_length(stream->wsi));
    connection_close(stream->connection, close.code, close.reason);
}

static void on_gone(struct stream *stream)
{
    struct connection *connection = stream->connection;

    unmark_dirty(stream);
    expiry_remove(&stream->closing);
    buf_done(&stream->message);
    inflater_free(stream->inflater);
    stream->inflater = NULL;
    buf_done(&connection->out);
    stream->connection = NULL;
    connection->socket = NULL;
    connection->socket_ops = NULL;
    connection->is_output_pending = false;
    gateway_closed(stream->websocket->gateway, connection);
}

/* ---- the beginning ---- */

static void on_established(struct websocket *websocket, struct stream *stream, struct lws *wsi)
{
    struct connection *connection = websocket->adoption->connection;

    stream->websocket = websocket;
    stream->wsi = wsi;
    stream->connection = connection;
    stream->may_inflate = websocket->adoption->may_compress;
    buf_init(&stream->message, (size_t)websocket->config->max_message_bytes);
    connection->socket = stream;
    connection->socket_ops = &socket_ops;
    websocket->is_adopted = true;
    gateway_opened(websocket->gateway, connection);
    if (connection->out.len > 0 || connection->has_close)
        mark_dirty(stream);
}

/* libwebsockets writes Upgrade, Connection and Sec-WebSocket-Accept; -1 refuses the handshake. */
static int add_headers(const struct websocket_adoption *adoption,
                       struct lws_process_html_args *args)
{
    struct buf headers;
    int result = -1;

    buf_init(&headers, (size_t)args->max_len);
    buf_addf(&headers, "date: %s\r\n", adoption->date);
    if (adoption->subprotocol)
        buf_addf(&headers, "sec-websocket-protocol: %s\r\n", adoption->subprotocol);
    buf_adds(&headers, "\r\n"); /* libwebsockets adds it: there must be room, too */
    if (!buf_full(&headers)) {
        memcpy(args->p, headers.data, headers.len - 2);
        args->p += headers.len - 2;
        result = 0;
    }
    buf_done(&headers);
    return result;
}

static void write_request(struct buf *request, const struct websocket_adoption *adoption)
{
    buf_init(request, HEAD_BYTES + adoption->early_len);
    buf_addf(request,
             "GET / HTTP/1.1\r\n"
             "Host: localhost\r\n"
             "Upgrade: websocket\r\n"
             "Connection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: %.*s\r\n"
             "%s\r\n",
             (int)adoption->key_len, adoption->key,
             adoption->may_compress ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
    buf_add(request, adoption->early, adoption->early_len);
}

/* The handshake has everything it needs, so libwebsockets goes through it before it returns. */
enum status websocket_adopt(struct websocket *websocket, const struct websocket_adoption *adoption,
                            struct error *err)
{
    struct buf request;
    struct lws *wsi;

    assert(!websocket->adoption);
    websocket->adoption = adoption;
    websocket->is_adopted = false;
    write_request(&request, adoption);
    wsi = lws_adopt_socket_vhost_readbuf(websocket->vhost, adoption->fd, request.data, request.len);
    buf_done(&request);
    websocket->adoption = NULL;
    if (websocket->is_adopted)
        return OK;
    if (wsi)
        lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    return fail(err, UNAVAILABLE, "the handshake could not be answered");
}

/* ---- libwebsockets ---- */

static int on_stream_event(struct stream *stream, enum lws_callback_reasons reason, void *in,
                           size_t len)
{
    switch ((int)reason) {
    case LWS_CALLBACK_RECEIVE:
        on_receive(stream, in, len);
        return 0;
    case LWS_CALLBACK_RECEIVE_PONG:
        gateway_seen(stream->websocket->gateway, stream->connection);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return on_writeable(stream);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return on_peer_close(stream, in, len);
    case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
        on_library_close(stream);
        return 0;
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_WSI_DESTROY: /* in case there was no CLOSED */
        on_gone(stream);
        return 0;
    default:
        return 0;
    }
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    struct stream *stream = user; /* NULL until the upgrade */
    struct websocket *websocket;

    if (!stream)
        return 0;
    if (stream->connection)
        return on_stream_event(stream, reason, in, len);
    if (reason != LWS_CALLBACK_ADD_HEADERS && reason != LWS_CALLBACK_ESTABLISHED)
        return 0;
    websocket = lws_context_user(lws_get_context(wsi));
    if (reason == LWS_CALLBACK_ADD_HEADERS)
        return add_headers(websocket->adoption, in);
    on_established(websocket, stream, wsi);
    return 0;
}

/* libwebsockets reports every adoption with bytes as an error; that line is not one. */
static void on_library_log(int level, const char *line)
{
    char text[200];
    size_t len = strcspn(line, "\n");

    (void)level;
    if (strstr(line, "adopt_socket_readbuf: calling service"))
        return;
    if (len >= sizeof(text))
        len = sizeof(text) - 1;
    memcpy(text, line, len);
    text[len] = '\0';
    log_warn("websocket.library", "message=%s", log_quote(text));
}

/* Lets libwebsockets negotiate, and allow the bit that says "compressed".  0: the
 * bytes stay as they are. */
/* NOLINTNEXTLINE(readability-function-size): how many parameters is not ours to say */
static int on_extension(struct lws_context *context, const struct lws_extension *extension,
                        struct lws *wsi, enum lws_extension_callback_reasons reason, void *user,
                        void *in, size_t len)
{
    (void)context;
    (void)extension;
    (void)wsi;
    (void)reason;
    (void)user;
    (void)in;
    (void)len;
    return 0;
}

static const struct lws_extension extensions[] = {
    {"permessage-deflate", on_extension, "permessage-deflate"},
    {NULL, NULL, NULL},
};

static const struct lws_protocols protocols[] = {
    {
        .name = "switchboard",
        .callback = on_event,
        .per_session_data_size = sizeof(struct stream),
        .rx_buffer_size = RX_BYTES,
        .tx_packet_size = SEND_BYTES,
    },
    {.name = NULL},
};

/* All zero: no timers per connection (the default policy has two, and connecting three times as
 * expensive). */
static const lws_retry_bo_t no_keepalive;

struct websocket *websocket_create(struct loop *loop, const struct config *config,
                                   struct gateway *gateway, struct metrics *metrics,
                                   struct error *err)
{
    struct websocket *websocket = mem_alloc(sizeof(*websocket));
    void *loops[1] = {loop_native(loop)};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .extensions = config_is_on(config->compression) ? extensions : NULL,
        .vhost_name = "switchboard",
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS,
        .foreign_loops = loops,
        .retry_and_idle_policy = &no_keepalive,
        .max_http_header_pool = LIBRARY_HEADERS_POOL,
        .gid = -1,
        .uid = -1,
        .user = websocket,
    };

    websocket->loop = loop;
    websocket->config = config;
    websocket->gateway = gateway;
    websocket->metrics = metrics;
    websocket->flush = (struct deferred){.fn = flush_dirty, .ctx = websocket};
    lws_set_log_level(LLL_ERR, on_library_log);
    websocket->context = lws_create_context(&info);
    if (websocket->context)
        websocket->vhost = lws_get_vhost_by_name(websocket->context, info.vhost_name);
    if (!websocket->vhost) {
        fail(err, INTERNAL, "libwebsockets could not be started");
        free(websocket);
        return NULL;
    }
    expiry_init(&websocket->closing, loop, config->close_timeout_ms, on_close_time_over, websocket);
    return websocket;
}

/* libwebsockets gives up its libuv handles in the first call and its memory in the second; the loop
 * has to close the handles in between. */
void websocket_free(struct websocket *websocket)
{
    lws_context_destroy(websocket->context);
    loop_settle(websocket->loop);
    lws_context_destroy(websocket->context);
    expiry_done(&websocket->closing);
    loop_undefer(websocket->loop, &websocket->flush);
    free(websocket);
}

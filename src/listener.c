/* SPDX-License-Identifier: Apache-2.0 */
#include "listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "config.h"
#include "expiry.h"
#include "extensions.h"
#include "gateway.h"
#include "http_head.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "rejection.h"
#include "request_line.h"
#include "websocket.h"

enum {
    ACCEPT_BATCH = 128,    /* per turn, so that the others get theirs */
    ACCEPT_PAUSE_MS = 100, /* when there are no descriptors left */
    READ_BYTES = 2048,     /* most heads come in one read of this */
    PEEK_BYTES = 1024,     /* the stage is no longer than 128 characters */
    DISCARD_BYTES = 4096,  /* read and dropped behind a rejection, at a time */
    DISCARD_BATCH = 16,
    ANSWER_TIME_MS = 2000, /* for the client to take a rejection and close */
    PORT_BYTES = 16
};

enum handshake_state {
    HANDSHAKE_READING,   /* the head is not complete; first of all, is it for the management API? */
    HANDSHAKE_HELD,      /* the gateway decides; nothing is read */
    HANDSHAKE_ANSWERING, /* a rejection goes out; then the next request is read, or what the client
                            still sends is dropped */
    HANDSHAKE_STATES
};

/* Made by accept, freed when the socket was adopted or closed. */
struct handshake {
    struct listener *listener;
    struct handshake *prev, *next;
    enum handshake_state state; /* changed by set_state only */
    int fd;                     /* -1 once websocket.c has it */
    struct watch *watch;        /* NULL while nothing is awaited */
    struct expiry expiry;
    struct deferred deferred;      /* acting on the gateway's answer */
    bool is_ours;                  /* it is not for the management API */
    size_t peeked;                 /* bytes that have come while that was not clear */
    struct buf head;               /* what was read: the head and perhaps more */
    size_t head_size;              /* without what is behind it; 0 while incomplete */
    struct slice key;              /* in head */
    bool may_compress;             /* the client; it has offered to */
    struct connection *connection; /* when it is to be adopted */
    char *subprotocol;
    bool may_ask_again; /* the head says so: the socket stays open behind a rejection */
    struct buf answer;
    size_t answer_sent;
};

struct listener {
    struct loop *loop;
    const struct config *config;
    struct gateway *gateway;
    struct websocket *websocket;
    struct metrics *metrics;
    listener_management_fn *on_management;
    void *management_ctx;
    int fd;
    int port;
    struct watch *watch;
    struct timer *pause; /* while accepting is paused */
    bool is_short;       /* of descriptors, and that was logged */
    struct handshake *first;
    size_t counts[HANDSHAKE_STATES];
    struct expiry_queue reading;
    struct expiry_queue answering;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void on_ready(void *ctx, int events);
static void read_next(struct handshake *handshake);

/* ---- life of a handshake ---- */

static void set_state(struct handshake *handshake, enum handshake_state state)
{
    struct listener *listener = handshake->listener;

    listener->counts[handshake->state]--;
    listener->counts[state]++;
    handshake->state = state;
    expiry_remove(&handshake->expiry);
    if (state == HANDSHAKE_ANSWERING)
        expiry_add(&listener->answering, &handshake->expiry);
}

static void handshake_free(struct handshake *handshake)
{
    struct listener *listener = handshake->listener;

    listener->counts[handshake->state]--;
    if (handshake->prev)
        handshake->prev->next = handshake->next;
    else
        listener->first = handshake->next;
    if (handshake->next)
        handshake->next->prev = handshake->prev;
    expiry_remove(&handshake->expiry);
    loop_undefer(listener->loop, &handshake->deferred);
    loop_unwatch(handshake->watch);
    if (handshake->fd >= 0)
        close(handshake->fd);
    buf_done(&handshake->head);
    buf_done(&handshake->answer);
    free(handshake->subprotocol);
    free(handshake);
}

static void await(struct handshake *handshake, int events)
{
    if (handshake->watch)
        loop_watch_set(handshake->watch, events);
    else
        handshake->watch =
            loop_watch(handshake->listener->loop, handshake->fd, events, on_ready, handshake);
}

/* ---- rejections ---- */

static void answer_with(struct handshake *handshake, const struct rejection *rejection)
{
    if (rejection->is_final)
        handshake->may_ask_again = false;
    rejection_write(rejection, handshake->may_ask_again, &handshake->answer);
}

/* Closing a socket with unread input resets it, and the reset overtakes the answer: so what the
 * client still sends is read until it closes or its time is over. */
static void discard_input(struct handshake *handshake)
{
    char dropped[DISCARD_BYTES];
    ssize_t n;

    for (int i = 0; i < DISCARD_BATCH; i++) {
        n = recv(handshake->fd, dropped, sizeof(dropped), 0);
        if (n > 0 || (n < 0 && errno == EINTR))
            continue;
        if (n == 0 || errno != EAGAIN)
            handshake_free(handshake);
        return;
    }
}

/* May free the handshake. */
static void send_answer(struct handshake *handshake)
{
    const struct buf *answer = &handshake->answer;

    while (handshake->answer_sent < answer->len) {
        ssize_t n = send(handshake->fd, answer->data + handshake->answer_sent,
                         answer->len - handshake->answer_sent, MSG_NOSIGNAL);

        if (n >= 0) {
            handshake->answer_sent += (size_t)n;
        } else if (errno == EAGAIN) {
            await(handshake, LOOP_WRITE);
            return;
        } else if (errno != EINTR) {
            handshake_free(handshake);
            return;
        }
    }
    if (!handshake->may_ask_again)
        shutdown(handshake->fd, SHUT_WR);
    else if (handshake->head.len > handshake->head_size)
        loop_at_end_of_turn(handshake->listener->loop, &handshake->deferred);
    await(handshake, LOOP_READ);
}

/* How many bytes have to be there for the socket to count as readable. */
static void set_low_water(struct handshake *handshake, size_t bytes)
{
    int value = (int)bytes;

    (void)setsockopt(handshake->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof(value));
}

/* What has come so far stays where it is while it is looked at. */
static void stop_peeking(struct handshake *handshake)
{
    if (handshake->peeked)
        set_low_water(handshake, 1);
    handshake->is_ours = true;
}

static void start_answer(struct handshake *handshake)
{
    stop_peeking(handshake);
    set_state(handshake, HANDSHAKE_ANSWERING);
    send_answer(handshake);
}

/* May free the handshake. */
static void reject(struct handshake *handshake, const struct rejection *rejection)
{
    struct metrics *metrics = handshake->listener->metrics;

    if (rejection->status < 500)
        metrics->connects_malformed++;
    else
        metrics->connects_failed++;
    answer_with(handshake, rejection);
    start_answer(handshake);
}

/* ---- the gateway's answer ---- */

static void adopt(struct handshake *handshake)
{
    struct listener *listener = handshake->listener;
    struct error err = {0};
    char date[HTTP_DATE_BYTES];
    struct websocket_adoption adoption = {
        .fd = handshake->fd,
        .connection = handshake->connection,
        .key = handshake->key.data,
        .key_len = handshake->key.len,
        .date = date,
        .subprotocol = handshake->subprotocol,
        .may_compress = handshake->may_compress,
        .early = handshake->head.data + handshake->head_size,
        .early_len = handshake->head.len - handshake->head_size,
    };

    http_date_write(date);
    handshake->fd = -1;
    if (websocket_adopt(listener->websocket, &adoption, &err) != OK) {
        log_debug("listener.abandoned", "error=%s", log_quote(err.text));
        gateway_abandon(listener->gateway, handshake->connection);
    }
    handshake_free(handshake);
}

/* At the end of the turn, because the gateway may have answered inside our own call.  Or the next
 * request has come with the one that was rejected. */
static void on_deferred(void *ctx)
{
    struct handshake *handshake = ctx;

    if (handshake->connection)
        adopt(handshake);
    else if (handshake->state == HANDSHAKE_HELD)
        start_answer(handshake);
    else
        read_next(handshake);
}

static void on_response(void *ctx, const struct gateway_response *response)
{
    struct handshake *handshake = ctx;
    struct rejection rejection = {
        .status = response->status,
        /* Another node may have room; and a 304 has no body, whatever its length is said to be. */
        .is_final = response->status == 503 || response->status == 304,
        .body = response->body,
        .request_id = response->request_id,
    };

    assert(handshake->state == HANDSHAKE_HELD);
    if (response->status == 101) {
        handshake->connection = response->connection;
        handshake->subprotocol = mem_strdup(response->subprotocol);
    } else {
        answer_with(handshake, &rejection);
    }
    loop_at_end_of_turn(handshake->listener->loop, &handshake->deferred);
}

/* ---- the request ---- */

/* An IPv4 client of an IPv6 socket is shown as what it is. */
static bool peer_address(int fd, char text[INET6_ADDRSTRLEN])
{
    union address address;
    socklen_t len = sizeof(address);
    const struct in6_addr *v6 = &address.v6.sin6_addr;

    memset(&address, 0, sizeof(address));
    if (getpeername(fd, &address.any, &len) != 0)
        return false;
    if (address.any.sa_family == AF_INET)
        return inet_ntop(AF_INET, &address.v4.sin_addr, text, INET6_ADDRSTRLEN) != NULL;
    if (IN6_IS_ADDR_V4MAPPED(v6))
        return inet_ntop(AF_INET, v6->s6_addr + 12, text, INET6_ADDRSTRLEN) != NULL;
    return inet_ntop(AF_INET6, v6, text, INET6_ADDRSTRLEN) != NULL;
}

static void hold(struct handshake *handshake, const struct http_head *head)
{
    char peer_ip[INET6_ADDRSTRLEN];

    if (!peer_address(handshake->fd, peer_ip)) {
        handshake_free(handshake); /* it has gone */
        return;
    }
    handshake->key = http_head_find(head, "Sec-WebSocket-Key")->value;
    handshake->may_compress =
        config_is_on(handshake->listener->config->compression) && extensions_offer_deflate(head);
    set_state(handshake, HANDSHAKE_HELD);
    loop_unwatch(handshake->watch);
    handshake->watch = NULL;
    gateway_handshake(handshake->listener->gateway, head, peer_ip, on_response, handshake);
}

/* Parsing starts from the beginning each time, which somebody who sends byte by byte could turn
 * into work: so only when there is news of an empty line, or nothing was looked at yet. */
static bool is_worth_parsing(const struct buf *head, size_t seen)
{
    size_t from = seen < 3 ? 0 : seen - 3;

    return seen == 0 || head->len == head->limit ||
           memmem(head->data + from, head->len - from, "\r\n\r\n", 4) != NULL;
}

/* True when the handshake has gone on, or is freed: the caller has nothing more to do with it. */
static bool look_at_head(struct handshake *handshake, size_t seen)
{
    const struct rejection *fault;
    struct http_head head;
    struct error err = {0};
    enum status status;

    if (!is_worth_parsing(&handshake->head, seen))
        return false;
    status = http_head_parse(handshake->head.data, handshake->head.len, &head, &err);
    if (status == UNAVAILABLE && handshake->head.len < handshake->head.limit)
        return false;
    if (status == UNAVAILABLE || status == LIMIT) {
        reject(handshake, &rejection_too_large);
        return true;
    }
    fault = status == OK ? rejection_of_head(handshake->listener->config, &head)
                         : rejection_of_malformed(handshake->listener->config);
    if (status == OK) {
        handshake->head_size = head.size;
        handshake->may_ask_again = head_may_be_followed(&head);
    } else {
        log_debug("listener.malformed", "error=%s", log_quote(err.text));
    }
    if (fault)
        reject(handshake, fault);
    else
        hold(handshake, &head);
    return true;
}

static void hand_to_management(struct handshake *handshake)
{
    struct listener *listener = handshake->listener;
    int fd = handshake->fd;

    stop_peeking(handshake);
    handshake->fd = -1;
    handshake_free(handshake); /* takes the watch off first */
    listener->on_management(listener->management_ctx, fd);
}

/* Whether the request is the listener's own; otherwise the handshake waits for more, was handed
 * over or is freed.  The socket counts as readable again when there is more than was seen: without
 * that the loop would spin on what is left in it.  When it does so without more, the client has
 * stopped sending. */
static bool is_own_request(struct handshake *handshake)
{
    enum request_line answer = REQUEST_LINE_HANDSHAKE;
    char data[PEEK_BYTES];
    ssize_t n;

    do
        n = recv(handshake->fd, data, sizeof(data), MSG_PEEK);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        await(handshake, LOOP_READ);
        return false;
    }
    if (n > 0)
        answer = request_line_look(data, (size_t)n);
    if (answer == REQUEST_LINE_MANAGEMENT) {
        hand_to_management(handshake);
        return false;
    }
    if (answer == REQUEST_LINE_UNDECIDED && n < PEEK_BYTES && (size_t)n > handshake->peeked) {
        handshake->peeked = (size_t)n;
        set_low_water(handshake, (size_t)n + 1);
        await(handshake, LOOP_READ);
        return false;
    }
    stop_peeking(handshake);
    return true;
}

/* May free the handshake. */
static void read_head(struct handshake *handshake)
{
    struct buf *head = &handshake->head;

    if (!handshake->is_ours && handshake->listener->on_management && !is_own_request(handshake))
        return;
    for (;;) {
        size_t seen = head->len;
        size_t room = head->limit - seen < READ_BYTES ? head->limit - seen : READ_BYTES;
        char *to = buf_reserve(head, room);
        ssize_t n = recv(handshake->fd, to, room, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            handshake_free(handshake);
            return;
        }
        if (n > 0) {
            buf_commit(head, (size_t)n);
            if (look_at_head(handshake, seen))
                return;
        }
        if (n < (ssize_t)room) { /* there is no more yet */
            await(handshake, LOOP_READ);
            return;
        }
    }
}

/* The client has its rejection, and asks for something else.  May free the handshake. */
static void read_next(struct handshake *handshake)
{
    struct listener *listener = handshake->listener;

    loop_undefer(listener->loop, &handshake->deferred);
    buf_done(&handshake->answer);
    handshake->answer_sent = 0;
    handshake->may_ask_again = false;
    buf_drop_front(&handshake->head, handshake->head_size);
    handshake->head_size = 0;
    set_state(handshake, HANDSHAKE_READING);
    expiry_add(&listener->reading, &handshake->expiry);
    if (handshake->head.len == 0) { /* what comes may be for the management API */
        handshake->is_ours = false;
        handshake->peeked = 0;
    }
    if (handshake->head.len == 0 || !look_at_head(handshake, 0))
        read_head(handshake);
}

static void on_ready(void *ctx, int events)
{
    struct handshake *handshake = ctx;

    (void)events;
    if (handshake->state == HANDSHAKE_READING)
        read_head(handshake);
    else if (handshake->answer_sent < handshake->answer.len)
        send_answer(handshake);
    else if (handshake->may_ask_again)
        read_next(handshake);
    else
        discard_input(handshake);
}

static void on_reading_over(void *ctx, struct expiry *expiry)
{
    struct handshake *handshake = CONTAINER_OF(expiry, struct handshake, expiry);

    (void)ctx;
    if (handshake->head.len > 0 || handshake->peeked > 0)
        reject(handshake, &rejection_too_slow);
    else
        handshake_free(handshake); /* it never asked for anything */
}

static void on_answering_over(void *ctx, struct expiry *expiry)
{
    (void)ctx;
    handshake_free(CONTAINER_OF(expiry, struct handshake, expiry));
}

/* ---- accepting ---- */

static struct handshake *handshake_create(struct listener *listener, int fd)
{
    struct handshake *handshake = mem_alloc(sizeof(*handshake));
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    handshake->listener = listener;
    handshake->fd = fd;
    handshake->deferred = (struct deferred){.fn = on_deferred, .ctx = handshake};
    buf_init(&handshake->head, (size_t)listener->config->max_head_bytes);
    handshake->next = listener->first;
    if (listener->first)
        listener->first->prev = handshake;
    listener->first = handshake;
    handshake->state = HANDSHAKE_READING;
    listener->counts[HANDSHAKE_READING]++;
    expiry_add(&listener->reading, &handshake->expiry);
    return handshake;
}

static void begin(struct listener *listener, int fd)
{
    size_t most = (size_t)listener->config->max_pending_handshakes;
    size_t pending = listener->counts[HANDSHAKE_READING] + listener->counts[HANDSHAKE_HELD];

    if (pending < most)
        read_head(handshake_create(listener, fd));
    else if (listener->counts[HANDSHAKE_ANSWERING] < most)
        reject(handshake_create(listener, fd), &rejection_too_many);
    else
        close(fd); /* so many that they do not get an answer either */
}

static void on_pause_over(void *ctx)
{
    struct listener *listener = ctx;

    loop_timer_stop(listener->pause);
    listener->pause = NULL;
    loop_watch_set(listener->watch, LOOP_READ);
}

/* The clients wait in the backlog; trying again at once would only spin. */
static void pause_accepting(struct listener *listener, int error)
{
    if (!listener->is_short)
        log_warn("listener.paused", "error=%s retry_ms=%d", log_quote(strerror(error)),
                 ACCEPT_PAUSE_MS);
    listener->is_short = true;
    loop_watch_set(listener->watch, 0);
    listener->pause = loop_timer(listener->loop, ACCEPT_PAUSE_MS, 0, on_pause_over, listener);
}

static void on_acceptable(void *ctx, int events)
{
    struct listener *listener = ctx;

    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            listener->is_short = false;
            begin(listener, fd);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(listener, errno);
            return;
        }
        /* accept(2) also reports what happened to the one connection it would have returned. */
    }
}

/* ---- the port ---- */

static enum status find_address(const struct config *config, struct addrinfo **found,
                                struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char port[PORT_BYTES];
    int rc;

    snprintf(port, sizeof(port), "%lld", (long long)config->port);
    rc = getaddrinfo(*config->listen_address ? config->listen_address : NULL, port, &hints, found);
    if (rc != 0)
        return fail(err, INVALID, "listen address \"%s\": %s", config->listen_address,
                    gai_strerror(rc));
    return OK;
}

/* The backlog is whatever the kernel allows (net.core.somaxconn): it cuts larger ones. */
static int open_port(const struct addrinfo *address)
{
    int on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, INT_MAX) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int port_of(int fd)
{
    union address address;
    socklen_t len = sizeof(address);

    memset(&address, 0, sizeof(address));
    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

struct listener *listener_create(struct loop *loop, const struct config *config,
                                 struct gateway *gateway, struct websocket *websocket,
                                 struct metrics *metrics, struct error *err)
{
    struct listener *listener;
    struct addrinfo *address;
    int error;
    int fd;

    if (find_address(config, &address, err) != OK)
        return NULL;
    fd = open_port(address);
    error = errno;
    freeaddrinfo(address);
    if (fd < 0) {
        fail(err, UNAVAILABLE, "cannot listen on %s port %lld: %s", config->listen_address,
             (long long)config->port, strerror(error));
        return NULL;
    }
    listener = mem_alloc(sizeof(*listener));
    listener->loop = loop;
    listener->config = config;
    listener->gateway = gateway;
    listener->websocket = websocket;
    listener->metrics = metrics;
    listener->fd = fd;
    listener->port = port_of(fd);
    expiry_init(&listener->reading, loop, config->handshake_timeout_ms, on_reading_over, listener);
    expiry_init(&listener->answering, loop, ANSWER_TIME_MS, on_answering_over, listener);
    return listener;
}

void listener_on_management(struct listener *listener, listener_management_fn *fn, void *ctx)
{
    listener->on_management = fn;
    listener->management_ctx = ctx;
}

int listener_port(const struct listener *listener)
{
    return listener->port;
}

void listener_start(struct listener *listener)
{
    assert(listener->fd >= 0 && !listener->watch);
    listener->watch = loop_watch(listener->loop, listener->fd, LOOP_READ, on_acceptable, listener);
}

void listener_stop(struct listener *listener)
{
    loop_timer_stop(listener->pause);
    listener->pause = NULL;
    loop_unwatch(listener->watch);
    listener->watch = NULL;
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

void listener_free(struct listener *listener)
{
    struct handshake *next;

    listener_stop(listener);
    for (struct handshake *handshake = listener->first; handshake; handshake = next) {
        next = handshake->next;
        handshake_free(handshake);
    }
    expiry_done(&listener->reading);
    expiry_done(&listener->answering);
    free(listener);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer_frame.h"

enum {
    TURN_EVENTS = 512,
    READ_BYTES = 64 * 1024,
    OTHER_FDS = 64,
    PER_ADDRESS = 8000, /* connections from one source address */
    ARRAYS = 8,
    WATCHED_FDS = 2,
    CHECKS_PER_TIMEOUT = 10
};

/* The key of the example in RFC 6455, section 1.3: its accept value is known. */
const char peer_handshake_headers[] = "Upgrade: websocket\r\n"
                                      "Connection: Upgrade\r\n"
                                      "Sec-WebSocket-Version: 13\r\n"
                                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
static const char accept_value[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

struct watched {
    void (*on_readable)(void *ctx);
    void *ctx;
};

struct peers {
    int epoll;
    uint64_t now_ns;
    uint64_t timeout_ns;
    uint64_t next_check_ns;
    uint64_t random;
    struct bytes read;   /* shared by all: a peer keeps only what is left over */
    struct peer **dirty; /* may name closed ones */
    size_t dirty_count, dirty_cap;
    struct peer *array[ARRAYS];
    size_t count[ARRAYS];
    size_t arrays;
    struct watched watched[WATCHED_FDS];
    size_t watched_count;
};

static void raise_fd_limit(size_t connections)
{
    rlim_t need = (rlim_t)connections + OTHER_FDS;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need;
    if (limit.rlim_max < need)
        limit.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        load_fail("cannot have %zu open files: %s", (size_t)need, strerror(errno));
}

struct peers *peers_create(uint64_t timeout_ns, size_t connections)
{
    struct peers *peers = load_alloc(1, sizeof *peers);

    raise_fd_limit(connections);
    peers->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (peers->epoll < 0)
        load_fail("epoll_create1: %s", strerror(errno));
    peers->now_ns = load_now_ns();
    peers->random = peers->now_ns * 2 + 1;
    peers->timeout_ns = timeout_ns;
    return peers;
}

void peers_free(struct peers *peers)
{
    for (size_t i = 0; i < peers->arrays; i++) {
        for (size_t j = 0; j < peers->count[i]; j++) {
            struct peer *peer = &peers->array[i][j];
            peer_close(peer);
            bytes_free(&peer->in);
            bytes_free(&peer->out);
            bytes_free(&peer->message);
        }
    }
    close(peers->epoll);
    bytes_free(&peers->read);
    free(peers->dirty);
    free(peers);
}

void peers_watch(struct peers *peers, struct peer *array, size_t count)
{
    if (peers->arrays == ARRAYS)
        load_fail("more than %d arrays of peers", ARRAYS);
    peers->array[peers->arrays] = array;
    peers->count[peers->arrays++] = count;
}

void peers_watch_fd(struct peers *peers, int fd, void (*on_readable)(void *ctx), void *ctx)
{
    struct watched *watched = &peers->watched[peers->watched_count++];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watched};

    *watched = (struct watched){.on_readable = on_readable, .ctx = ctx};
    if (epoll_ctl(peers->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        load_fail("cannot wait for input: %s (it must be a pipe, not a file)", strerror(errno));
}

void peers_unwatch_fd(struct peers *peers, int fd)
{
    epoll_ctl(peers->epoll, EPOLL_CTL_DEL, fd, NULL);
}

uint64_t peers_now_ns(const struct peers *peers)
{
    return peers->now_ns;
}

uint64_t peers_timeout_ns(const struct peers *peers)
{
    return peers->timeout_ns;
}

void peer_fail(const struct peer *peer, const char *fmt, ...)
{
    char prefix[64];
    va_list args;

    snprintf(prefix, sizeof prefix, "%s %zu: ", peer->name, peer->number);
    va_start(args, fmt);
    load_vfail(prefix, fmt, args);
    /* cppcheck-suppress va_end_missing; it does not return */
}

void peer_fail_unexpected(const struct peer *peer, const char *text, size_t len,
                          const char *expected, size_t expected_len)
{
    enum { SHOWN = 300 };

    if (!expected)
        peer_fail(peer, "nothing was expected, but \"%.*s\" came (%zu bytes)",
                  (int)(len < SHOWN ? len : SHOWN), text, len);
    peer_fail(peer, "\"%.*s\" was expected (%zu bytes), but \"%.*s\" came (%zu bytes)",
              (int)(expected_len < SHOWN ? expected_len : SHOWN), expected, expected_len,
              (int)(len < SHOWN ? len : SHOWN), text, len);
}

/* ---- output ---- */

static void mark_dirty(struct peer *peer)
{
    struct peers *peers = peer->peers;

    if (peer->is_dirty || peer->is_blocked)
        return;
    if (peers->dirty_count == peers->dirty_cap) {
        peers->dirty_cap = peers->dirty_cap ? peers->dirty_cap * 2 : TURN_EVENTS;
        peers->dirty = realloc(peers->dirty, peers->dirty_cap * sizeof *peers->dirty);
        if (!peers->dirty)
            load_fail("out of memory");
    }
    peers->dirty[peers->dirty_count++] = peer;
    peer->is_dirty = true;
}

static void await_room(struct peer *peer, bool is_blocked)
{
    struct epoll_event event = {.events = is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = peer};

    if (peer->is_blocked == is_blocked)
        return;
    peer->is_blocked = is_blocked;
    if (epoll_ctl(peer->peers->epoll, EPOLL_CTL_MOD, peer->fd, &event) != 0)
        peer_fail(peer, "epoll_ctl: %s", strerror(errno));
}

/* Before the connection is made this is EAGAIN like any other lack of room. */
static void flush(struct peer *peer)
{
    struct bytes *out = &peer->out;
    ssize_t n;

    if (peer->fd < 0 || peer->out_sent == out->len)
        return;
    n = send(peer->fd, out->data + peer->out_sent, out->len - peer->out_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        peer_fail(peer, "cannot %s: %s", peer->state == PEER_OPEN ? "send" : "connect",
                  strerror(errno));
    if (n > 0)
        peer->out_sent += (size_t)n;
    if (peer->out_sent == out->len) {
        out->len = 0;
        peer->out_sent = 0;
    } else if (peer->out_sent > READ_BYTES) {
        bytes_drop_front(out, peer->out_sent);
        peer->out_sent = 0;
    }
    await_room(peer, out->len > 0);
}

static void flush_all(struct peers *peers)
{
    for (size_t i = 0; i < peers->dirty_count; i++) {
        peers->dirty[i]->is_dirty = false;
        flush(peers->dirty[i]);
    }
    peers->dirty_count = 0;
}

void peer_send_bytes(struct peer *peer, const char *data, size_t len)
{
    bytes_add(&peer->out, data, len);
    mark_dirty(peer);
}

/* xorshift64: the mask has to differ from frame to frame, not to be a secret. */
static uint32_t next_mask(struct peers *peers)
{
    uint64_t x = peers->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    peers->random = x;
    return (uint32_t)(x >> 32);
}

static void send_frame(struct peer *peer, enum frame_opcode opcode, const char *payload, size_t len)
{
    char *room = bytes_room(&peer->out, len + FRAME_CLIENT_HEAD_BYTES);

    peer->out.len += frame_put(room, opcode, payload, len, next_mask(peer->peers));
    mark_dirty(peer);
}

void peer_send_text(struct peer *peer, const char *text, size_t len)
{
    send_frame(peer, FRAME_TEXT, text, len);
}

/* ---- input ---- */

/* The value of a header in the head of an answer, which ends with an empty line. */
static bool has_header(const char *head, const char *name, const char *value, bool any_case)
{
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        line += name_len + 1;
        line += strspn(line, " \t");
        if ((any_case ? strncasecmp : strncmp)(line, value, value_len) == 0 &&
            (!value_len || strspn(line + value_len, " \t\r") > 0))
            return true;
    }
    return false;
}

static void check_handshake(const struct peer *peer, const char *head)
{
    if (strncmp(head, "HTTP/1.1 101 ", 13) != 0)
        peer_fail(peer, "the handshake was answered with: %.300s", head);
    if (!has_header(head, "Upgrade", "websocket", true) ||
        !has_header(head, "Connection", "upgrade", true))
        peer_fail(peer, "the 101 is no upgrade to websocket: %.500s", head);
    if (!has_header(head, "Sec-WebSocket-Accept", accept_value, false))
        peer_fail(peer, "Sec-WebSocket-Accept is missing or wrong: %.500s", head);
    if (has_header(head, "Sec-WebSocket-Extensions", "", true))
        peer_fail(peer, "an extension was chosen that nobody offered: %.500s", head);
}

/* Returns the bytes of the answer, 0 when it is not complete. */
static size_t take_handshake(struct peer *peer, const char *data, size_t len)
{
    enum { HEAD_LIMIT = 8192 };
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    char head[HEAD_LIMIT + 1];
    size_t size = end ? (size_t)(end - data) + 4 : len;

    if (!end && len < HEAD_LIMIT && (len < 12 || memcmp(data + 9, "101", 3) == 0))
        return 0;
    if (size > HEAD_LIMIT)
        size = HEAD_LIMIT;
    memcpy(head, data, size);
    head[size] = '\0';
    check_handshake(peer, head);
    peer->state = PEER_OPEN;
    peer->waiting_since_ns = 0;
    peer->events->on_open(peer);
    return size;
}

static void take_close(const struct peer *peer, const struct frame *frame)
{
    const unsigned char *payload = (const unsigned char *)frame->payload;

    if (frame->len < 2)
        peer_fail(peer, "the server closed the connection without a code");
    peer_fail(peer, "the server closed the connection with %d \"%.*s\"",
              payload[0] << 8 | payload[1], (int)(frame->len - 2), frame->payload + 2);
}

static void take_part(struct peer *peer, const struct frame *frame)
{
    struct bytes *message = &peer->message;
    bool is_first = frame->opcode == FRAME_TEXT;
    /* A message of several frames may begin with an empty one: the opcode is kept as one byte. */
    bool has_begun = message->len > 0;

    if (is_first == has_begun)
        peer_fail(peer, "a frame that does not continue the message before it");
    if (is_first)
        bytes_add(message, "T", 1);
    bytes_add(message, frame->payload, frame->len);
    if (!frame->is_final)
        return;
    peer->events->on_text(peer, message->data + 1, message->len - 1);
    message->len = 0;
}

static void take_frame(struct peer *peer, const struct frame *frame)
{
    if (frame->opcode == FRAME_TEXT && frame->is_final && !peer->message.len)
        peer->events->on_text(peer, frame->payload, frame->len);
    else if (frame->opcode == FRAME_TEXT || frame->opcode == FRAME_CONTINUATION)
        take_part(peer, frame);
    else if (frame->opcode == FRAME_PING)
        send_frame(peer, FRAME_PONG, frame->payload, frame->len);
    else if (frame->opcode == FRAME_CLOSE)
        take_close(peer, frame);
    else if (frame->opcode != FRAME_PONG)
        peer_fail(peer, "a frame with opcode %d came", (int)frame->opcode);
}

/* Returns how many of the bytes are done with. */
static size_t take_input(struct peer *peer, const char *data, size_t len)
{
    size_t at = 0;
    size_t size;
    struct frame frame;
    const char *error = NULL;

    if (peer->events->on_bytes)
        return peer->events->on_bytes(peer, data, len);
    if (peer->state == PEER_SHAKING)
        at = take_handshake(peer, data, len);
    while (peer->state == PEER_OPEN &&
           (size = frame_get(data + at, len - at, &frame, &error)) > 0) {
        take_frame(peer, &frame);
        at += size;
    }
    if (error)
        peer_fail(peer, "%s", error);
    return at;
}

static void read_peer(struct peer *peer)
{
    struct bytes *buffer = &peer->peers->read;
    size_t kept = peer->in.len;
    size_t len, used;
    ssize_t n;

    bytes_room(buffer, kept + READ_BYTES);
    n = recv(peer->fd, buffer->data + kept, READ_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        peer_fail(peer, "connection lost: %s", strerror(errno));
    if (n == 0)
        peer_fail(peer, "the server closed the connection");
    if (kept)
        memcpy(buffer->data, peer->in.data, kept);
    peer->in.len = 0;
    len = kept + (size_t)n;
    used = take_input(peer, buffer->data, len);
    if (peer->state != PEER_CLOSED)
        bytes_add(&peer->in, buffer->data + used, len - used);
}

/* ---- opening and closing ---- */

/* Many connections come from 127.0.1.1, 127.0.1.2 and so on: one address has 28,000 ports, and
 * connect() searches each time (200 us) once every second of these is taken.  File descriptors are
 * dense, so they tell how many connections there are. */
static void bind_source(const struct peer *peer, const struct sockaddr_in *server)
{
    uint32_t address = (uint32_t)(peer->fd / PER_ADDRESS);
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;

    if (!address || ntohl(server->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        return;
    source.sin_addr.s_addr = htonl(UINT32_C(0x7f000100) + address);
    setsockopt(peer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(peer->fd, (const struct sockaddr *)&source, sizeof source) != 0)
        peer_fail(peer, "cannot use a second source address: %s", strerror(errno));
}

/* Lingering is set at once, so that a run that fails leaves nothing behind either. */
static void open_socket(struct peer *peer)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int on = 1;

    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->fd < 0)
        peer_fail(peer, "socket: %s", strerror(errno));
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

void peer_open(struct peer *peer, const struct sockaddr_in *server, const char *request, size_t len)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};

    open_socket(peer);
    bind_source(peer, server);
    peer->opened_at_ns = load_now_ns();
    peer->waiting_since_ns = peer->opened_at_ns;
    if (connect(peer->fd, (const struct sockaddr *)server, sizeof *server) != 0 &&
        errno != EINPROGRESS)
        peer_fail(peer, "cannot connect: %s", strerror(errno));
    if (epoll_ctl(peer->peers->epoll, EPOLL_CTL_ADD, peer->fd, &event) != 0)
        peer_fail(peer, "epoll_ctl: %s", strerror(errno));
    peer->state = PEER_SHAKING;
    peer->is_blocked = false;
    if (peer->events->on_bytes) {
        peer->state = PEER_OPEN;
        peer->waiting_since_ns = 0;
    }
    peer_send_bytes(peer, request, len);
}

void peer_close(struct peer *peer)
{
    if (peer->state == PEER_CLOSED)
        return;
    close(peer->fd);
    peer->fd = -1;
    peer->state = PEER_CLOSED;
    peer->waiting_since_ns = 0;
    peer->in.len = 0;
    peer->message.len = 0;
    peer->out.len = 0;
    peer->out_sent = 0;
}

/* ---- the loop ---- */

static void check_timeouts(struct peers *peers)
{
    if (peers->now_ns < peers->next_check_ns)
        return;
    peers->next_check_ns = peers->now_ns + peers->timeout_ns / CHECKS_PER_TIMEOUT;
    for (size_t i = 0; i < peers->arrays; i++) {
        for (size_t j = 0; j < peers->count[i]; j++) {
            const struct peer *peer = &peers->array[i][j];
            if (peer->waiting_since_ns &&
                peer->waiting_since_ns + peers->timeout_ns < peers->now_ns)
                peer_fail(peer, "%s did not come in time",
                          peer->state == PEER_SHAKING ? "the answer to the handshake" : "a frame");
        }
    }
}

static void handle_event(struct peers *peers, const struct epoll_event *event)
{
    struct peer *peer = event->data.ptr;

    for (size_t i = 0; i < peers->watched_count; i++) {
        struct watched *watched = &peers->watched[i];
        if (event->data.ptr == watched) {
            watched->on_readable(watched->ctx);
            return;
        }
    }
    if (peer->state != PEER_CLOSED && (event->events & (uint32_t)~EPOLLOUT))
        read_peer(peer);
    if (peer->state != PEER_CLOSED && (event->events & EPOLLOUT))
        flush(peer);
}

void peers_turn(struct peers *peers, uint64_t until_ns)
{
    struct epoll_event events[TURN_EVENTS];
    uint64_t now_ns;
    int wait_ms = 0;
    int n;

    flush_all(peers);
    now_ns = load_now_ns();
    if (until_ns > peers->next_check_ns)
        until_ns = peers->next_check_ns;
    if (until_ns > now_ns)
        wait_ms = (int)((until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
    n = epoll_wait(peers->epoll, events, TURN_EVENTS, wait_ms);
    if (n < 0 && errno != EINTR)
        load_fail("epoll_wait: %s", strerror(errno));
    peers->now_ns = load_now_ns();
    for (int i = 0; i < n; i++)
        handle_event(peers, &events[i]);
    check_timeouts(peers);
}

void peers_run_for(struct peers *peers, uint64_t ns)
{
    uint64_t end_ns = load_now_ns() + ns;

    do
        peers_turn(peers, end_ns);
    while (peers->now_ns < end_ns);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 512,
    BACKLOG = 4096,
    ACCEPTS = 256, /* in a row */
    READ_BYTES = 64 * 1024,
    IN_BYTES_MOST = 16 * 1024 * 1024,
    OUT_BYTES_MOST = 64 * 1024 * 1024
};

struct server {
    struct server_source listener;
    struct server_source signals;
    struct server_handler handler;
    struct server_peer *closed;
    int epoll;
    int listen_fd;
    int signal_fd;
    bool is_stopping;
    struct server_bytes read; /* what all peers are read into */
};

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- bytes ---- */

static void reserve(struct server_bytes *bytes, size_t len)
{
    if (bytes->len + len <= bytes->cap)
        return;
    bytes->cap = 2 * (bytes->len + len);
    bytes->data = mem_realloc(bytes->data, bytes->cap);
}

static void append(struct server_bytes *bytes, const char *data, size_t len)
{
    reserve(bytes, len);
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

static void release(struct server_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct server_bytes){0};
}

/* ---- descriptors ---- */

void server_watch(struct server *server, int fd, uint32_t events, struct server_source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (epoll_ctl(server->epoll, EPOLL_CTL_MOD, fd, &event) == 0)
        return;
    if (errno != ENOENT || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

void server_close(struct server_peer *peer)
{
    struct server *server = peer->server;

    if (peer->is_closed)
        return;
    peer->is_closed = true;
    close(peer->fd);
    peer->next_closed = server->closed;
    server->closed = peer;
    if (server->handler.on_closed)
        server->handler.on_closed(peer);
}

static void free_closed(struct server *server)
{
    while (server->closed) {
        struct server_peer *peer = server->closed;

        server->closed = peer->next_closed;
        release(&peer->in);
        release(&peer->out);
        free(peer);
    }
}

/* ---- output ---- */

/* How much the socket took; the peer may be closed afterwards. */
static size_t write_some(struct server_peer *peer, const char *data, size_t len)
{
    ssize_t n = send(peer->fd, data, len, MSG_NOSIGNAL);

    if (n >= 0)
        return (size_t)n;
    if (errno != EAGAIN && errno != EINTR)
        server_close(peer);
    return 0;
}

void server_send(struct server_peer *peer, const char *data, size_t len)
{
    size_t sent = 0;

    if (peer->is_closed || len == 0)
        return;
    if (peer->out.len == 0)
        sent = write_some(peer, data, len);
    if (sent == len || peer->is_closed)
        return;
    if (peer->out.len == 0)
        server_watch(peer->server, peer->fd, EPOLLOUT, &peer->source);
    append(&peer->out, data + sent, len - sent);
    if (peer->out.len - peer->out_from > OUT_BYTES_MOST)
        server_close(peer);
}

static void write_on(struct server_peer *peer)
{
    struct server_bytes *out = &peer->out;

    peer->out_from += write_some(peer, out->data + peer->out_from, out->len - peer->out_from);
    if (peer->is_closed || peer->out_from < out->len)
        return;
    release(out);
    peer->out_from = 0;
    server_watch(peer->server, peer->fd, EPOLLIN, &peer->source);
}

/* ---- input ---- */

static void keep(struct server_peer *peer, const char *data, size_t len)
{
    peer->in.len = 0;
    if (len > IN_BYTES_MOST)
        server_close(peer);
    else if (len > 0)
        append(&peer->in, data, len);
    else if (peer->in.data)
        release(&peer->in);
}

static void read_some(struct server_peer *peer)
{
    struct server *server = peer->server;
    struct server_bytes *buffer = &server->read;
    size_t kept = peer->in.len;
    size_t len, used;
    ssize_t n;

    buffer->len = 0;
    reserve(buffer, kept + READ_BYTES);
    n = recv(peer->fd, buffer->data + kept, READ_BYTES, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            server_close(peer);
        return;
    }
    if (kept)
        memcpy(buffer->data, peer->in.data, kept);
    len = kept + (size_t)n;
    used = server->handler.on_data(peer, buffer->data, len);
    if (!peer->is_closed)
        keep(peer, buffer->data + used, len - used);
}

static void on_peer(struct server_source *source, uint32_t events)
{
    struct server_peer *peer = CONTAINER_OF(source, struct server_peer, source);

    if (peer->is_closed)
        return;
    if (peer->out.len > 0)
        write_on(peer);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_some(peer);
}

static void add_peer(struct server *server, int fd)
{
    struct server_peer *peer = mem_alloc(sizeof(*peer));
    int on = 1;

    peer->source.on_ready = on_peer;
    peer->server = server;
    peer->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    server_watch(server, fd, EPOLLIN, &peer->source);
}

static void on_listener(struct server_source *source, uint32_t events)
{
    struct server *server = CONTAINER_OF(source, struct server, listener);

    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        add_peer(server, fd);
    }
}

/* ---- life ---- */

static void on_signal(struct server_source *source, uint32_t events)
{
    (void)events;
    CONTAINER_OF(source, struct server, signals)->is_stopping = true;
}

static int catch_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, BACKLOG) != 0)
        die("listen");
    return fd;
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

struct server *server_create(int port, const struct server_handler *handler)
{
    struct server *server = mem_alloc(sizeof(*server));

    raise_file_limit();
    server->handler = *handler;
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->listen_fd = listen_on(port);
    server->listener.on_ready = on_listener;
    server_watch(server, server->listen_fd, EPOLLIN, &server->listener);
    server->signal_fd = catch_signals();
    server->signals.on_ready = on_signal;
    server_watch(server, server->signal_fd, EPOLLIN, &server->signals);
    return server;
}

int server_port(const struct server *server)
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof(address);

    if (getsockname(server->listen_fd, (struct sockaddr *)&address, &len) != 0)
        die("getsockname");
    return ntohs(address.sin_port);
}

void server_run(struct server *server)
{
    struct epoll_event events[EVENTS];

    printf("port %d\n", server_port(server));
    fflush(stdout);
    while (!server->is_stopping) {
        int count = epoll_wait(server->epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct server_source *source = events[i].data.ptr;

            source->on_ready(source, events[i].events);
        }
        if (server->handler.on_turn)
            server->handler.on_turn(server->handler.ctx);
        free_closed(server);
    }
}

void server_free(struct server *server)
{
    free_closed(server);
    close(server->epoll);
    close(server->listen_fd);
    close(server->signal_fd);
    release(&server->read);
    free(server);
}

int server_port_argument(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--port") == 0)
            return (int)strtol(argv[i + 1], NULL, 10);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server.h - a small HTTP server in a thread, for the tests of clients.  What it does a test
 * says with a function (server_start_with), or it is in the path:
 *   /echo           answers with the request as it came
 *   /meet?N         answers when N requests are waiting there
 *   /hang           does not answer
 *   /head           sends the head of an answer and no more
 *   /close          closes
 *   /die            closes when the connection had a request before, answers otherwise
 *   /bye            answers and closes, without having said so
 *   /short          closes in the middle of the body
 *   /garbage        answers with something else than HTTP
 *   /large?N        answers with N bytes
 *   /answer?TEXT    answers with TEXT, where | stands for CR LF
 */
#pragma once

#include "base.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"

enum { SERVER_PEERS = 512, SERVER_BYTES = 1024 * 1024 };

struct server_peer {
    int fd; /* -1: free */
    struct buf in;
    int requests;
    size_t meeting; /* how many have to wait at /meet; 0: it does not wait there */
};

struct server;
/* In the thread; the request has len bytes at peer->in.data. */
typedef void server_handler(void *ctx, struct server *server, struct server_peer *peer, size_t len);

struct server {
    pthread_t thread;
    server_handler *handler; /* NULL: by path */
    void *ctx;
    int listener;
    int stop[2];
    uint16_t port;
    atomic_int accepted;
    atomic_int requests;
    atomic_int closed_by_peer;
    atomic_int said_bye; /* and closed */
    struct server_peer peers[SERVER_PEERS];
};

static inline void server_close(struct server_peer *peer)
{
    close(peer->fd);
    peer->fd = -1;
    peer->meeting = 0;
    buf_done(&peer->in);
}

static inline void server_write(struct server_peer *peer, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(peer->fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

static inline void server_answer(struct server_peer *peer, const char *body, size_t len)
{
    struct buf out;

    buf_init(&out, SIZE_MAX);
    buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    buf_add(&out, body, len);
    server_write(peer, out.data, out.len);
    buf_done(&out);
}

static inline void server_write_lines(struct server_peer *peer, const char *text)
{
    struct buf out;

    buf_init(&out, SIZE_MAX);
    for (; *text && *text != ' '; text++)
        buf_adds(&out, *text == '|' ? "\r\n" : *text == '+' ? " " : (char[]){*text, '\0'});
    server_write(peer, out.data, out.len);
    buf_done(&out);
}

static inline void server_meet(struct server *server, size_t wanted)
{
    size_t waiting = 0;

    for (size_t i = 0; i < SERVER_PEERS; i++)
        waiting += server->peers[i].meeting == wanted;
    if (waiting < wanted)
        return;
    for (size_t i = 0; i < SERVER_PEERS; i++) {
        if (server->peers[i].meeting == wanted) {
            server->peers[i].meeting = 0;
            server_answer(&server->peers[i], "met", 3);
        }
    }
}

/* The path begins at `path`; the request has len bytes. */
static inline void server_act(struct server *server, struct server_peer *peer, const char *path,
                              size_t len)
{
    const char *query = path + strcspn(path, "? ");
    size_t number = *query == '?' ? (size_t)strtoul(query + 1, NULL, 10) : 0;
    char *bytes;

    if (strncmp(path, "/meet", 5) == 0) {
        peer->meeting = number;
        server_meet(server, number);
    } else if (strncmp(path, "/head", 5) == 0) {
        server_write_lines(peer, "HTTP/1.1+200+OK|Content-Length:+9||");
    } else if (strncmp(path, "/short", 6) == 0) {
        server_write_lines(peer, "HTTP/1.1+200+OK|Content-Length:+9||abc");
        server_close(peer);
    } else if (strncmp(path, "/garbage", 8) == 0) {
        server_write_lines(peer, "220+mail.example.com+ready||");
    } else if (strncmp(path, "/answer?", 8) == 0) {
        server_write_lines(peer, query + 1);
    } else if (strncmp(path, "/large?", 7) == 0) {
        bytes = mem_alloc(number);
        memset(bytes, 'x', number);
        server_answer(peer, bytes, number);
        free(bytes);
    } else if (strncmp(path, "/bye", 4) == 0) {
        server_answer(peer, "bye", 3);
        server_close(peer);
        atomic_fetch_add(&server->said_bye, 1);
    } else if (strncmp(path, "/close", 6) == 0 ||
               (strncmp(path, "/die", 4) == 0 && peer->requests > 1)) {
        server_close(peer);
    } else if (strncmp(path, "/hang", 5) != 0) {
        server_answer(peer, buf_str(&peer->in), len);
    }
}

/* True when there was a whole request. */
static inline bool server_handle(struct server *server, struct server_peer *peer)
{
    const char *text = buf_str(&peer->in);
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\nContent-Length:");
    size_t len;

    if (!end)
        return false;
    len = (size_t)(end - text) + 4;
    if (length && length < end)
        len += (size_t)strtoul(length + sizeof("\r\nContent-Length:") - 1, NULL, 10);
    if (peer->in.len < len)
        return false;
    peer->requests++;
    atomic_fetch_add(&server->requests, 1);
    if (server->handler)
        server->handler(server->ctx, server, peer, len);
    else
        server_act(server, peer, strchr(text, ' ') + 1, len);
    if (peer->fd >= 0)
        buf_drop_front(&peer->in, len);
    return peer->fd >= 0;
}

static inline void server_read(struct server *server, struct server_peer *peer)
{
    char *at = buf_reserve(&peer->in, 65536);
    ssize_t n = at ? recv(peer->fd, at, 65536, 0) : -1;

    if (n <= 0) {
        atomic_fetch_add(&server->closed_by_peer, 1);
        server_close(peer);
        return;
    }
    buf_commit(&peer->in, (size_t)n);
    while (server_handle(server, peer))
        ;
}

static inline void server_accept(struct server *server)
{
    int fd = accept(server->listener, NULL, NULL);

    for (size_t i = 0; i < SERVER_PEERS && fd >= 0; i++) {
        struct server_peer *peer = &server->peers[i];

        if (peer->fd >= 0)
            continue;
        *peer = (struct server_peer){.fd = fd};
        buf_init(&peer->in, SERVER_BYTES);
        atomic_fetch_add(&server->accepted, 1);
        return;
    }
    abort(); /* a test wants more than there are */
}

static inline void *server_run(void *ctx)
{
    struct server *server = ctx;
    struct pollfd fds[SERVER_PEERS + 2];

    for (;;) {
        fds[0] = (struct pollfd){.fd = server->stop[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
        for (size_t i = 0; i < SERVER_PEERS; i++)
            fds[i + 2] = (struct pollfd){.fd = server->peers[i].fd, .events = POLLIN};
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            abort();
        if (fds[0].revents)
            return NULL;
        for (size_t i = 0; i < SERVER_PEERS; i++) {
            if (fds[i + 2].revents && server->peers[i].fd >= 0)
                server_read(server, &server->peers[i]);
        }
        if (fds[1].revents)
            server_accept(server);
    }
}

static inline int server_listen(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, SERVER_PEERS) ||
        getsockname(fd, (struct sockaddr *)&address, &len))
        abort();
    *port = ntohs(address.sin_port);
    return fd;
}

static inline struct server *server_start_with(server_handler *handler, void *ctx)
{
    struct server *server = mem_alloc(sizeof(*server));

    server->handler = handler;
    server->ctx = ctx;
    for (size_t i = 0; i < SERVER_PEERS; i++)
        server->peers[i].fd = -1;
    server->listener = server_listen(&server->port);
    if (pipe(server->stop) || pthread_create(&server->thread, NULL, server_run, server))
        abort();
    return server;
}

static inline struct server *server_start(void)
{
    return server_start_with(NULL, NULL);
}

static inline void server_stop(struct server *server)
{
    if (write(server->stop[1], "", 1) != 1)
        abort();
    pthread_join(server->thread, NULL);
    for (size_t i = 0; i < SERVER_PEERS; i++) {
        if (server->peers[i].fd >= 0)
            server_close(&server->peers[i]);
    }
    close(server->stop[0]);
    close(server->stop[1]);
    close(server->listener);
    free(server);
}

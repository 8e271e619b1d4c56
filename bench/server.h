/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - a TCP server on epoll and one thread: what the reference programs have in common.
 *
 * Level-triggered, one read per peer and turn into a buffer that all share.  A peer has memory of
 * its own only for what is not complete yet, and for output that its socket did not take; while
 * there is such output, nothing is read from it.
 */
#pragma once

#include "base.h"

struct server;
struct server_peer;

/* Whatever the epoll can have ready; the first member of what it belongs to. */
struct server_source {
    void (*on_ready)(struct server_source *source, uint32_t events);
};

struct server_bytes {
    char *data;
    size_t len;
    size_t cap;
};

/* Freed at the end of the turn in which it was closed. */
struct server_peer {
    struct server_source source;
    struct server *server;
    struct server_peer *next_closed;
    int fd;
    int state; /* the handler's; 0 at first */
    bool is_closed;
    void *ctx;              /* the handler's */
    struct server_bytes in; /* the beginning of something */
    struct server_bytes out;
    size_t out_from; /* what is in front of it has been sent */
};

struct server_handler {
    /* Returns how many of the bytes were used; the others come again with more behind them.  What
     * was used may be overwritten. */
    size_t (*on_data)(struct server_peer *peer, char *data, size_t len);
    void (*on_closed)(struct server_peer *peer); /* NULL: nothing to do */
    void (*on_turn)(void *ctx);                  /* at the end of each turn; NULL: nothing to do */
    void *ctx;
};

/* Listens on 127.0.0.1; port 0: any.  Raises the limit of open files.  Ends the program when that
 * does not work. */
struct server *server_create(int port, const struct server_handler *handler) MUST_USE;
int server_port(const struct server *server);

/* Prints "port N", then serves until SIGTERM or SIGINT. */
void server_run(struct server *server);
void server_free(struct server *server); /* with its peers' sockets left to the kernel */

/* Another descriptor; again with other events. */
void server_watch(struct server *server, int fd, uint32_t events, struct server_source *source);

void server_send(struct server_peer *peer, const char *data, size_t len);
void server_close(struct server_peer *peer); /* again: nothing happens */

/* The port of "--port N" in the arguments, or 0. */
int server_port_argument(int argc, char **argv);

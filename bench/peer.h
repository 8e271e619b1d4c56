/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - one client connection of the load generator, and the loop that drives all of them.
 *
 * A peer is a WebSocket client, or a plain connection whose bytes its owner reads.  Its storage
 * belongs to the owner (peers are arrays); it may be opened again after peer_close, but not in a
 * callback.  What is sent goes out at the beginning of the next turn: all frames of one peer that
 * were sent in one turn are one write.  Whatever goes wrong ends the run.
 */
#pragma once

#include <netinet/in.h>

#include "load_base.h"

struct peer;

struct peer_events {
    void (*on_open)(struct peer *peer); /* the 101 is complete */
    /* A whole message; the bytes are borrowed until the callback returns. */
    void (*on_text)(struct peer *peer, const char *text, size_t len);
    /* Not NULL: this is no WebSocket.  Returns how many of the bytes it is done with. */
    size_t (*on_bytes)(struct peer *peer, const char *data, size_t len);
};

enum peer_state { PEER_CLOSED, PEER_SHAKING, PEER_OPEN };

struct peer {
    struct peers *peers;
    const struct peer_events *events;
    void *owner;      /* not used here */
    const char *name; /* "subscriber", in messages */
    size_t number;
    uint64_t opened_at_ns;     /* connect() */
    uint64_t waiting_since_ns; /* 0: nothing is due; older than the timeout: the run fails */
    struct bytes in;           /* a frame that is not complete yet */
    struct bytes message;      /* the frames before, of a message in several */
    struct bytes out;
    size_t out_sent;
    int fd;
    enum peer_state state;
    unsigned char stage; /* not used here */
    bool is_dirty;       /* in the list of those with output */
    bool is_blocked;     /* EPOLLOUT is awaited */
};

struct peers;

struct peers *peers_create(uint64_t timeout_ns, size_t connections);
void peers_free(struct peers *peers);

/* The peers of this array are looked after: of their timeouts here, of their end in peers_free. */
void peers_watch(struct peers *peers, struct peer *array, size_t count);

/* Calls back when fd is readable. */
void peers_watch_fd(struct peers *peers, int fd, void (*on_readable)(void *ctx), void *ctx);
void peers_unwatch_fd(struct peers *peers, int fd);

/* Sends what is due, waits at most until then, and calls back for all that has come. */
void peers_turn(struct peers *peers, uint64_t until_ns);
void peers_run_for(struct peers *peers, uint64_t ns);

/* Of the current turn. */
uint64_t peers_now_ns(const struct peers *peers);

uint64_t peers_timeout_ns(const struct peers *peers);

/* Fills in peers, events, owner, name and number before; the request is the whole head of the
 * handshake, empty for a plain connection. */
void peer_open(struct peer *peer, const struct sockaddr_in *server, const char *request,
               size_t len);

/* With a RST, so that nothing of it stays in the kernel. */
void peer_close(struct peer *peer);

void peer_send_text(struct peer *peer, const char *text, size_t len);
void peer_send_bytes(struct peer *peer, const char *data, size_t len);

_Noreturn void peer_fail(const struct peer *peer, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
_Noreturn void peer_fail_unexpected(const struct peer *peer, const char *text, size_t len,
                                    const char *expected, size_t expected_len);

/* The headers of a handshake request that go with the accept value that is expected. */
extern const char peer_handshake_headers[];

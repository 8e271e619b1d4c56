/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.h - libwebsockets, as a guest on the loop: frames of adopted sockets.
 *
 * libwebsockets answers the 101 to a head that we write for it, parses frames, answers pings and
 * does the closing handshake.  Messages out are framed by us (connections.c), collected in
 * connection->out and written once per turn with one raw write per connection.
 */
#pragma once

#include "base.h"

struct config;
struct connection;
struct gateway;
struct loop;
struct metrics;
struct websocket;

struct websocket *websocket_create(struct loop *loop, const struct config *config,
                                   struct gateway *gateway, struct metrics *metrics,
                                   struct error *err) MUST_USE;
/* Every connection must be gone. */
void websocket_free(struct websocket *websocket);

/* An accepted handshake; everything is borrowed during the call. */
struct websocket_adoption {
    int fd;
    struct connection *connection;
    const char *key; /* Sec-WebSocket-Key */
    size_t key_len;
    const char *date;        /* as HTTP writes it */
    const char *subprotocol; /* or NULL */
    bool may_compress;       /* the client's messages: permessage-deflate, without parameters */
    const char *early;       /* what the client sent behind the head */
    size_t early_len;
};

/* Takes the socket over and sends the 101: Date, Connection, Upgrade, Sec-WebSocket-Accept, and
 * Sec-WebSocket-Protocol when there is a subprotocol, Sec-WebSocket-Extensions when it may
 * compress.  When it returns OK gateway_opened was called. UNAVAILABLE when libwebsockets refuses
 * or the client is gone; the descriptor is closed in either case.  Not from inside a callback of
 * libwebsockets: its buffer is shared by all connections. */
enum status websocket_adopt(struct websocket *websocket, const struct websocket_adoption *adoption,
                            struct error *err) MUST_USE;

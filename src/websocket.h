/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.h - RFC 6455 on adopted sockets: the 101, frames in, output, pings, the closing
 * handshake.
 *
 * Messages out are framed by connections.c, collected in connection->out and written once per turn
 * with one call per connection.  Loop thread only.
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
/* Ends what is left: gateway_closed is called for it. */
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

/* Takes the socket over and sends the 101 (Upgrade, Connection, Sec-WebSocket-Accept, Date, and
 * Sec-WebSocket-Extensions when it may compress, Sec-WebSocket-Protocol when there is a
 * subprotocol) together with what is queued already.  When it returns OK gateway_opened was called.
 * UNAVAILABLE when the client is gone; the descriptor is closed then. */
enum status websocket_adopt(struct websocket *websocket, const struct websocket_adoption *adoption,
                            struct error *err) MUST_USE;

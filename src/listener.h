/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - accepts, reads the request head, holds the handshake.
 *
 * Bounded in size (max_head_bytes), time (handshake_timeout_ms) and number
 * (max_pending_handshakes). Rejections are written here, byte for byte as the contract has them;
 * accepted sockets are handed to websocket.c.  Requests for the management API (request_line.h) go
 * to listener_on_management's function, unread.  Anything else that is not an upgrade is answered
 * here too: 426, 403, 400, 431.
 */
#pragma once

#include "base.h"

struct config;
struct gateway;
struct listener;
struct loop;
struct metrics;
struct websocket;

/* Binds and listens, without accepting yet.  NULL and UNAVAILABLE: the address is taken or not
 * ours; INVALID: it is no address. */
struct listener *listener_create(struct loop *loop, const struct config *config,
                                 struct gateway *gateway, struct websocket *websocket,
                                 struct metrics *metrics, struct error *err) MUST_USE;
/* Who takes such a socket over.  NULL, as in the beginning: nobody, they are answered here. */
typedef void listener_management_fn(void *ctx, int fd);
void listener_on_management(struct listener *listener, listener_management_fn *fn, void *ctx);
int listener_port(const struct listener *listener);
void listener_start(struct listener *listener); /* accepts from now on */
void listener_stop(struct listener *listener);  /* closes the port; handshakes in progress go on */
/* Drops the handshakes that are left: whoever answers held ones must have answered them. */
void listener_free(struct listener *listener);

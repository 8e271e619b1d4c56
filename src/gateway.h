/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.h - the API Gateway contract between sockets (listener.c, websocket.c) and the backend.
 *
 * Handshake, routes, error frames, limits, time-outs, close codes.
 */
#pragma once

#include "base.h"
#include "event.h"
#include "http_head.h"

struct access_log;
struct api;
struct auth;
struct backend;
struct cloudwatch;
struct config;
struct connection;
struct connections;
struct gateway;
struct integrations;
struct loop;
struct metrics;
struct profile_settings;
struct replays;

struct gateway_env {
    struct loop *loop;
    const struct config *config;
    struct backend *backend;           /* NULL: no route is SQL, connections are in memory only */
    struct api *api;                   /* NULL: every route is SQL */
    struct integrations *integrations; /* NULL without an API description */
    struct access_log *access_log;     /* NULL: none is written */
    struct cloudwatch *cloudwatch;
    struct auth *auth;
    const struct profile_settings *settings; /* node.c renews them in place */
    struct connections *connections;
    struct replays *replays; /* NULL without a backend */
    struct metrics *metrics;
};

struct gateway *gateway_create(const struct gateway_env *env, struct error *err) MUST_USE;
void gateway_free(struct gateway *gateway);

/* ---- handshake: called by listener.c ---- */
struct gateway_response {
    int status;              /* 101: adopt the socket for `connection`; else write a rejection */
    const char *body;        /* of a rejection; borrowed during the callback */
    const char *request_id;  /* x-amz-apigw-id; NULL when none was minted */
    const char *subprotocol; /* for the 101, or NULL */
    struct connection *connection;
};
typedef void gateway_response_fn(void *ctx, const struct gateway_response *response);
/* Decides about a request for a WebSocket whose head is complete.  done is called exactly once,
 * maybe before this returns (rejections that need no event).  The head is only read during the
 * call. */
void gateway_handshake(struct gateway *gateway, const struct http_head *head, const char *peer_ip,
                       gateway_response_fn *done, void *ctx);
/* After a 101 whose socket could not be adopted (the client was gone). */
void gateway_abandon(struct gateway *gateway, struct connection *connection);

/* ---- socket: called by websocket.c ---- */
/* The 101 was sent: deliveries may flow. */
void gateway_opened(struct gateway *gateway, struct connection *connection);
/* A whole text message, valid UTF-8.  Not called again after gateway_closed. */
void gateway_message(struct gateway *gateway, struct connection *connection, const char *text,
                     size_t len);
/* A ping or pong arrived. */
void gateway_seen(struct gateway *gateway, struct connection *connection);
/* The peer's close frame (code 1005 when it had none), before gateway_closed. */
void gateway_peer_close(struct gateway *gateway, struct connection *connection, int code,
                        const char *reason);
/* The socket is gone, for whatever cause; the connection may be freed after this turn. */
void gateway_closed(struct gateway *gateway, struct connection *connection);

/* A request of the management API: false when the account has too many of everything. */
bool gateway_take_request(struct gateway *gateway) MUST_USE;

/* The management API sent something to it: that is activity, and other nodes are to see it. */
void gateway_touch(struct gateway *gateway, struct connection *connection);

/* ---- life ---- */
/* The settings have changed: what is wrong in them is logged, and stays as it was. */
void gateway_apply_settings(struct gateway *gateway);
void gateway_set_accepting(struct gateway *gateway,
                           bool is_accepting); /* false: handshakes get 503 */
/* Closes every connection with 1012 "Service restart". */
void gateway_close_all(struct gateway *gateway);

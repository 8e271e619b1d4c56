/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.h - an event in; a response and deliveries out: the SQL integration.
 *
 * CONNECT and DISCONNECT are collected and go out as one array call per turn; the next batch is
 * sent when the previous one was answered, what arrived meanwhile is that batch.  A MESSAGE is one
 * statement in its own transaction, or shares one with others that came meanwhile where its route's
 * schema says so (backend_message.c); messages of a connection run in order.
 *
 * Deliveries that a route returned are delivered here, before the done callback for MESSAGE and
 * after it for CONNECT (they belong behind the 101).
 */
#pragma once

#include "base.h"

struct backend;
struct config;
struct connection;
struct connections;
struct follower;
struct http_head;
struct loop;
struct metrics;
struct profile_settings;
struct replays;
struct store;

struct backend_env {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct connections *connections;
    struct follower *follower; /* NULL: what is published is somebody else's business, */
    struct replays *replays;   /* and so is what a client missed */
    const struct profile_settings *settings; /* node.c renews them in place */
    struct metrics *metrics;
    const char *node_id;
    const char *endpoint;     /* management endpoint of this node */
    bool skips_connect_route; /* connections are registered without it: it is not SQL */
    bool skips_disconnect_route;
    void (*on_published)(void *ctx); /* without a follower: there is something for the log */
    /* Without replays: a client asks for what it missed; {"topics":{...}}. */
    void (*on_resume)(void *ctx, struct connection *connection, const char *payload);
    void *ctx;
};

struct backend *backend_create(const struct backend_env *env) MUST_USE;
void backend_free(struct backend *backend);

/* http_status 200: registered.  Another one: refused, with the body to send.  503 when the database
 * was away for database_wait_ms, or went away while the batch was on its way; 504 when the route
 * timed out; 502 when it raised an error.  body is borrowed during the callback, NULL for the
 * gateway's own. */
typedef void backend_connect_done(void *ctx, int http_status, const char *body,
                                  const char *subprotocol);
/* A handshake; copied. */
struct backend_handshake {
    const char *json; /* the CONNECT event as another gateway has written it; NULL: our own, */
    size_t json_len;  /* of which there is */
    const struct http_head *head;
    const char *request_id;
    const char *trace_id;
    const char *claims; /* what $connect and the row get to know of the user, JSON; or NULL */
};
void backend_connect(struct backend *backend, struct connection *connection,
                     const struct backend_handshake *handshake, backend_connect_done *done,
                     void *ctx);

enum backend_result {
    BACKEND_OK,
    BACKEND_FORBIDDEN, /* no route matched */
    BACKEND_ERROR,     /* the route raised an error, or the database is away */
    BACKEND_TIMEOUT
};
typedef void backend_message_done(void *ctx, enum backend_result result);
struct backend_message {
    struct connection *connection;
    const char *route_key;
    const char *request_id;
    const char *message_id;
    const char *body; /* valid UTF-8 without NUL; borrowed during the call, like all of these */
    size_t body_len;
    const char *token; /* verified claims of the token in the body as JSON text, or NULL */
};
void backend_message(struct backend *backend, const struct backend_message *message,
                     backend_message_done *done, void *ctx);

/* A message that is not to be handled: only the $error of its route's schema runs, with this code
 * and text.  done gets BACKEND_OK when there is one. */
struct backend_refusal {
    const char *code; /* five characters */
    const char *text;
};
void backend_refuse(struct backend *backend, const struct backend_message *message,
                    const struct backend_refusal *refusal, backend_message_done *done, void *ctx);

/* The schemas of routes, the profile last, as an array literal. */
const char *backend_routes(const struct backend *backend);

/* Kept until the database has taken it, however long that is; the connection's close_code and
 * close_reason are copied. */
void backend_disconnect(struct backend *backend, const struct connection *connection,
                        const char *request_id);
/* False when the batch is full: ask again next time. */
bool backend_touch(struct backend *backend, const char *connection_id, int64_t at_ms) MUST_USE;
/* Disconnects and touches that the database has not confirmed yet: 0 means all is written. */
size_t backend_backlog(const struct backend *backend);

/* How many other nodes are alive: with none, deliveries to users and topics are not relayed. */
void backend_set_other_nodes(struct backend *backend, size_t count);

/* Where connections that register from now on are reached; copied. */
void backend_set_endpoint(struct backend *backend, const char *endpoint);

/* After an outage: registers every open connection again, with its topics. */
void backend_restore(struct backend *backend);
/* True when the last one did not get through: to be tried again. */
bool backend_restore_failed(const struct backend *backend);

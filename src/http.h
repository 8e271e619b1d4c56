/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - libmicrohttpd, as a guest on the loop: the admin port, and what the WebSocket port gets
 * that is no handshake.
 *
 * On the admin port:
 *   GET  /live                          200 while the loop turns
 *   GET  /ready                         200 or 503, JSON says what is missing
 *   GET  /metrics                       Prometheus text
 *   GET  /connections?limit=&after=     rows of live connections, JSON
 *   POST /email-verifications           {"email":...} -> {"email":...,"delivered":true|false}
 *   POST /users/{userId}                JSON, to all connections of a user -> {"reached":n}
 *   POST /topics/{topic}                JSON, published -> {"published":true}
 *   POST|GET|DELETE [/{stage}]/@connections/{id}   the management API
 *   POST [/{stage}]/@send                         to users, topics, all, many; batches
 *
 * On the WebSocket port the last two, with the stage.  docs/management-api.md describes them.
 */
#pragma once

#include "base.h"

struct cloudwatch;
struct config;
struct connections;
struct follower;
struct gateway;
struct http;
struct loop;
struct metrics;
struct store;

/* A request to @connections that was answered, for access logs and metrics.  Borrowed texts. */
struct http_management_record {
    const char *route_key;     /* "POST /@connections/{connectionId}" */
    const char *connection_id; /* NULL when it was none */
    const char *request_id;    /* x-amzn-RequestId */
    const char *gateway_id;    /* x-amz-apigw-id */
    const char *source_ip;
    const char *user_agent; /* NULL when none */
    const char *caller;     /* id of the access key; NULL when the request was not signed */
    int status;
    int64_t request_time_ms;
};

struct http_env {
    struct loop *loop;
    const struct config *config;
    struct store *store; /* NULL: there is no database; only the connections here can be reached */
    struct connections *connections;
    struct follower *follower; /* NULL without a database */
    struct gateway *gateway;   /* is told of what was sent to a connection; or NULL */
    struct metrics *metrics;
    /* NULL: nobody wants to know. */
    void (*on_management)(void *ctx, const struct http_management_record *record);
    const struct cloudwatch *cloudwatch;
    /* True when ready; otherwise *reason (static text) says what is missing. */
    bool (*is_ready)(void *ctx, const char **reason);
    void *ctx;
};

enum status http_create(const struct http_env *env, struct http **out, struct error *err) MUST_USE;
/* Takes a socket of the WebSocket port over, from which nothing has been read yet. */
void http_adopt(struct http *http, int fd);
int http_port(const struct http *http);
void http_free(struct http *http);

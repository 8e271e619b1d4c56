/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - libmicrohttpd, as a guest on the loop: the admin port, and what the WebSocket port gets
 * that is no handshake; or the port that takes the events of somebody else's gateway.
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
 *
 * On the port for events the first three, without the management API, and:
 *   POST /events                                   an event as JSON, what a Lambda function gets
 *   POST /2015-03-31/functions/{name}/invocations  the same, as Lambda's own API has it
 *   POST|GET|PUT  any other path                   an HTTP_PROXY integration
 * docs/http-integration.md describes them.
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
struct stateless;
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
    /* Not NULL: backend_port is opened for events, and nothing else. */
    struct stateless *stateless;
    /* The answer to a $connect has left: what waits for it can follow. */
    void (*on_opened)(void *ctx);
    void *ctx;
};

enum status http_create(const struct http_env *env, struct http **out, struct error *err) MUST_USE;
/* Takes a socket of the WebSocket port over, from which nothing has been read yet. */
void http_adopt(struct http *http, int fd);
int http_port(const struct http *http);
/* Stops listening; requests on connections that are there are still answered. */
void http_stop(struct http *http);
/* No request is being read, worked on or answered. */
bool http_is_idle(const struct http *http);
void http_free(struct http *http);

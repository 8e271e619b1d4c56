/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - libmicrohttpd, as a guest on the loop: the admin port.
 *
 *   GET  /live                          200 while the loop turns
 *   GET  /ready                         200 or 503, JSON says what is missing
 *   GET  /metrics                       Prometheus text
 *   GET  /connections?limit=&after=     rows of live connections, JSON
 *   POST /email-verifications           {"email":...} -> {"email":...,"delivered":true|false}
 *   POST /users/{userId}                JSON, to all connections of a user -> {"reached":n}
 *   POST /topics/{topic}                JSON, published -> {"published":true}
 *   POST|GET|DELETE [/{stage}]/@connections/{id}   the management API, its basic form
 */
#pragma once

#include "base.h"

struct cloudwatch;
struct config;
struct connections;
struct follower;
struct http;
struct loop;
struct metrics;
struct store;

struct http_env {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct connections *connections;
    struct follower *follower;
    struct metrics *metrics;
    const struct cloudwatch *cloudwatch;
    /* True when ready; otherwise *reason (static text) says what is missing. */
    bool (*is_ready)(void *ctx, const char **reason);
    void *ctx;
};

enum status http_create(const struct http_env *env, struct http **out, struct error *err) MUST_USE;
int http_port(const struct http *http);
void http_free(struct http *http);

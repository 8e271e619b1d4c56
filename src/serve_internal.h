/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_internal.h - what the files of `switchboard serve` share.
 *
 * serve.c: wiring, starting, stopping.  serve_prepare.c: what has to be right before that.
 */
#pragma once

#include "base.h"
#include "config.h"
#include "metrics.h"
#include "profile.h"
#include "serve.h"

enum { NODE_NAME_BYTES = 160, ENDPOINT_BYTES = 512, SOURCE_ARN_BYTES = 512 };

enum app_state { APP_STARTING, APP_SERVING, APP_CLOSING, APP_LEAVING, APP_STOPPED };

struct app {
    struct config config; /* the caller's, with the ports that were bound */
    enum app_state state;
    struct loop *loop;
    struct metrics metrics;
    struct profile_settings settings;
    struct auth *auth;
    struct api *api; /* NULL: every route is SQL */
    struct http_pool *pool;
    struct integrations *integrations;
    struct access_log *access_log;
    struct cloudwatch *cloudwatch;
    struct store *store; /* NULL, and all that needs it, when no route is SQL */
    struct connections *connections;
    struct replays *replays;
    struct follower *follower;
    struct backend *backend;
    struct gateway *gateway;
    struct websocket *websocket;
    struct listener *listener;
    struct http *http;
    struct node *node;
    struct timer *stop_timer;
    struct timer *uptime_timer;
    int64_t started_ms;
    int64_t stop_deadline_ms;
    bool is_printed;
    bool has_http_client;
    char host[64];
    char node_name[NODE_NAME_BYTES];
    char node_id[96];
    char endpoint[ENDPOINT_BYTES];
    char source_arn[SOURCE_ARN_BYTES];
};

/* ---- serve_prepare.c ---- */

/* As many files as the machine allows; a line of the log when that is less than is wanted. */
void serve_raise_descriptor_limit(const struct config *config);
/* Makes api, auth, settings, cloudwatch and access_log, and sets up the HTTP client.  When it
 * fails, what is there already is freed with everything else. */
enum status serve_prepare(struct app *app, struct error *err) MUST_USE;
/* Some route is SQL.  Asked once api is there. */
bool serve_uses_database(const struct app *app);

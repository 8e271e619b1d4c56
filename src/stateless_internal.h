/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stateless_internal.h - what the files of the stateless backend share.
 *
 * stateless.c: events.  stateless_claims.c: what the log has for our receivers.  stateless_jobs.c:
 * settings, authorizers, the schedule, commands.
 */
#pragma once

#include "auth.h"
#include "backend.h"
#include "pg.h"
#include "stateless.h"
#include "store.h"

/* What waits for neither the store nor the sender, which answer when they are closed.  Embed it. */
struct stateless_wait {
    void (*give_up)(void *ctx); /* by stateless_close */
    void *ctx;
    struct stateless_wait *next;
    struct stateless_wait **link; /* not NULL while waiting */
};

struct stateless {
    struct stateless_env env;
    struct connections *connections; /* empty: backend.c asks it for others, who are never here */
    struct backend *backend;
    char *settings_text;   /* as the database said it last */
    int64_t settings_ms;   /* when; 0: never */
    struct opened *opened; /* connections whose greeting waits for the answer to $connect */
    struct stateless_wait *waits;
    bool is_closing;
};

/* A connection that was accepted, and what was sent to it meanwhile. */
struct opened {
    struct opened *next;
    struct connection *connection;
    char *endpoint;
    char *resume; /* {"topics":{...}} that it is to get; NULL: none */
};
void opened_free(struct opened *opened);

/* False when the end is near: then it must not wait. */
bool stateless_wait_begin(struct stateless *stateless, struct stateless_wait *wait,
                          void (*give_up)(void *ctx), void *ctx) MUST_USE;
void stateless_wait_end(struct stateless_wait *wait); /* one that is not waiting is fine */

/* One statement on any connection; name NULL: not prepared. */
struct stateless_query {
    const char *name;
    const char *sql;
    const char *const *params;
    size_t count;
};
void stateless_query(struct stateless *stateless, const struct stateless_query *query,
                     pg_done *done, void *ctx);

/* ---- stateless_jobs.c ---- */

/* Goes on when the settings of the schemas are known, and not older than the lease of a node; with
 * an error when they never were and the database does not say. */
typedef void stateless_ready(void *ctx, const struct error *err);
void stateless_with_settings(struct stateless *stateless, stateless_ready *ready, void *ctx);

/* The token of a handshake, yours to free, or NULL. */
struct gateway_token;
void stateless_find_token(const struct incoming *event, struct gateway_token *out);

/* ---- stateless_claims.c ---- */

/* Tells the database that @connections does not know this id any more. */
void stateless_forget(struct stateless *stateless, const char *connection_id);
/* Queues what the connection missed of the topics in {"topics":{...}}; done when it is queued. */
void stateless_resume(struct stateless *stateless, struct connection *connection,
                      const char *payload, void (*done)(void *ctx), void *ctx);
/* Sends what is in the connection's `out`, and its close; returns how many, and calls on_sent for
 * each of them, later. */
size_t stateless_send_frames(struct stateless *stateless, struct connection *connection,
                             const char *endpoint, int64_t deadline_ms, void (*on_sent)(void *ctx),
                             void *ctx);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lambda_internal.h - what the files of the Lambda runtime share.
 *
 * lambda.c: start, stop, waiting for the database.  lambda_api.c: the Runtime API.
 * lambda_handler.c: what an event is and what is done about it.
 */
#pragma once

#include "http_client.h"
#include "incoming.h"
#include "lambda.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"
#include "stateless.h"
#include "store.h"

struct lambda;
typedef void lambda_posted(struct lambda *lambda);

enum {
    LAMBDA_ID_BYTES = 129,
    LAMBDA_URL_BYTES = 512,
    LAMBDA_CLAIMER_BYTES = 64,
    /* 6 MB and 100 bytes: what the Runtime API takes. */
    LAMBDA_RESPONSE_BYTES = 6291556
};

struct lambda {
    const struct config *config;
    struct loop *loop;
    struct http_pool *runtime; /* to the Runtime API, */
    struct http_pool *pool;    /* to @connections */
    struct store *store;
    struct sender *sender;
    struct auth *auth;
    struct stateless *stateless;
    struct metrics metrics;
    struct profile_settings settings;
    char claimer[LAMBDA_CLAIMER_BYTES];
    int exit_code;
    bool is_stopping; /* no event is asked for or answered any more */
    bool is_first;    /* no invocation was handled yet */
    /* of the invocation that runs: */
    char request_id[LAMBDA_ID_BYTES];
    char invocation_id[LAMBDA_ID_BYTES]; /* "" when Lambda sent none */
    int64_t began_ms;                    /* monotonic, as the deadline */
    int64_t deadline_ms;
    char *body;
    size_t body_len;
    struct incoming event;
    bool has_event;
    bool is_waiting;       /* for the database, before it is handled */
    struct timer *waiter;  /* how long that may take */
    struct metrics before; /* as it was when the invocation began */
    struct batch *batch;   /* of a queue's event; lambda_handler.c's */
    const char *what;      /* is posted: "response" or "error" */
    lambda_posted *posted; /* what is done then */
};

/* ---- lambda.c ---- */

/* Something is wrong with the Runtime API. */
void lambda_exit(struct lambda *lambda, const char *why);

/* ---- lambda_api.c ---- */

/* GET /next; lambda_handle comes.  Not when the process ends. */
void lambda_next(struct lambda *lambda);
/* Registers as an extension, for which there is a SIGTERM; then lambda_next. */
void lambda_register(struct lambda *lambda);
/* POST /response or /error; then done.  Neither when the process ends. */
void lambda_respond(struct lambda *lambda, const char *body, size_t len, lambda_posted *done);
void lambda_fail(struct lambda *lambda, const char *type, const char *text, lambda_posted *done);

/* ---- lambda_handler.c ---- */

/* body, request_id and deadline_ms are there, and the database if it is to be had. */
void lambda_handle(struct lambda *lambda);
/* An invocation has come: waits for the database, then lambda_handle. */
void lambda_begin(struct lambda *lambda);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client.h - HTTP requests (libcurl inside): ones that block, from commands and on the thread
 * pool; and a pool of keep-alive connections on the loop, many requests at a time.
 */
#pragma once

#include <stdatomic.h>

#include "buf.h"

/* Once per process, before the first request and before there are threads: libcurl aborts rather
 * than runs out of memory. */
enum status http_client_setup(struct error *err) MUST_USE;
void http_client_done(void);

struct http_client_request {
    const char *url;
    const char *body;           /* NULL: GET; else POST */
    const char *content_type;   /* of the body; NULL: application/json */
    const char *const *headers; /* further lines, "Name: value", with a NULL behind; NULL: none */
    int64_t timeout_ms;
    const char *ca_file;             /* PEM, the roots of https; NULL or "": the system's */
    bool is_local;                   /* http only, and past any proxy: our own admin port */
    const atomic_bool *is_cancelled; /* NULL: it never is; looked at once a second */
};

/* OK when there was an answer, whatever its status; the answer's body is added to answer, up to its
 * limit.  Redirects are not followed.  UNAVAILABLE when there was none, LIMIT when it is too large.
 */
enum status http_client_request(const struct http_client_request *request, struct buf *answer,
                                long *http_status, struct error *err) MUST_USE;

/* ---- on the loop ---- */

struct http_call;
struct http_pool;
struct loop;

/* Loop thread only, after http_client_setup. */
struct http_pool *http_pool_create(struct loop *loop) MUST_USE;
/* Calls that are open are dropped without an answer.  Not from a done. */
void http_pool_free(struct http_pool *pool); /* NULL is allowed */
/* How many calls are under way at a time, 1024 unless this says otherwise; each has a connection.
 * The others wait for their turn, which counts for their time-out. */
void http_pool_limit(struct http_pool *pool, size_t max_calls);

/* A PEM file with the roots that https servers are trusted by, from now on; "": the system's. */
void http_pool_trust(struct http_pool *pool, const char *ca_file);

struct http_pool_header {
    const char *name; /* a token, and a value without CR, LF and NUL: the caller has checked */
    const char *value;
};

/* Everything is copied.  Host (unless it is given) and, with a body, Content-Length are added;
 * nothing else is, but for what user:password@ in the URL asks for.  Headers about the message's
 * length and the connection are left out: Connection, Content-Length, Expect, Keep-Alive,
 * Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade. */
struct http_pool_request {
    const char *method;
    const char *url; /* path and query as they are, without dots being resolved; http or https */
    const struct http_pool_header *headers;
    size_t header_count;
    const char *body; /* NULL: none */
    size_t body_len;
    int64_t timeout_ms; /* for all of it; 0: there is none, and its turn has to be now */
    bool is_fresh;      /* on a connection of its own, which ends with it */
    size_t max_answer_bytes;
};

enum http_outcome {
    HTTP_ANSWERED,    /* with whatever status */
    HTTP_TIMED_OUT,   /* timeout_ms is over */
    HTTP_UNREACHABLE, /* not sent as far as anybody can know: no connection, no such host */
    HTTP_BROKEN,      /* went away in between, or answered what is not HTTP */
    HTTP_TOO_LARGE    /* the answer is larger than max_answer_bytes */
};

/* Borrowed during the callback. */
struct http_pool_answer {
    enum http_outcome outcome;
    int status; /* of HTTP_ANSWERED */
    const char *body;
    size_t body_len;
    const char *error;   /* what happened, for a log; "" when answered */
    const void *headers; /* http_answer_header's */
};
/* The last value of a header (any case), or NULL; borrowed during the callback. */
const char *http_answer_header(const struct http_pool_answer *answer, const char *name);

/* done is called once, from the loop, never before this returns; it may start and cancel calls.
 * Redirects are not followed, no proxy is used.  A request is sent once: HTTP_BROKEN says that
 * nobody knows whether it arrived. */
typedef void http_pool_done(void *ctx, const struct http_pool_answer *answer);
struct http_call *http_pool_start(struct http_pool *pool, const struct http_pool_request *request,
                                  http_pool_done *done, void *ctx);
/* Takes it back: done will not be called.  In its own done it does nothing; afterwards the call is
 * no more. */
void http_call_cancel(struct http_call *call);

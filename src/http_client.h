/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client.h - HTTP requests that block: from commands, and on the thread pool (libcurl inside).
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
    const char *body;         /* NULL: GET; else POST */
    const char *content_type; /* of the body; NULL: application/json */
    int64_t timeout_ms;
    bool is_local;                   /* http only, and past any proxy: our own admin port */
    const atomic_bool *is_cancelled; /* NULL: it never is; looked at once a second */
};

/* OK when there was an answer, whatever its status; the answer's body is added to answer, up to its
 * limit.  Redirects are not followed.  UNAVAILABLE when there was none, LIMIT when it is too large.
 */
enum status http_client_request(const struct http_client_request *request, struct buf *answer,
                                long *http_status, struct error *err) MUST_USE;

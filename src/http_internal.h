/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_internal.h - what http.c (libmicrohttpd) and http_endpoints.c (the answers) share.
 *
 * A request lives from its head until libmicrohttpd has sent the answer, or, when that was cut
 * short, until the database has answered.  An endpoint either answers at once or calls http_query,
 * whose callback answers.
 */
#pragma once

#include "buf.h"
#include "event.h"
#include "http.h"
#include "pg.h"
#include "store.h"

enum { HTTP_MAX_BODY_BYTES = 131072 };

struct http_request {
    struct http *http;
    const struct http_env *env;
    void *connection; /* libmicrohttpd's; NULL once it is gone */
    char *method;
    char *path;                   /* as sent: still percent-encoded */
    struct buf body;              /* full: it was larger than HTTP_MAX_BODY_BYTES */
    char id[CONNECTION_ID_BYTES]; /* of @connections/{id} */

    /* the answer; status 0: there is none yet */
    int status;
    struct buf answer;
    const char *content_type; /* static texts, all three */
    const char *error_type;   /* x-amzn-ErrorType, or NULL */
    const char *allow;        /* of a 405, or NULL */
    bool is_management;       /* @connections: carries request ids */

    /* http.c's */
    void (*on_rows)(struct http_request *request, const struct rows *rows);
    bool is_suspended;
    bool is_waiting; /* for the database */
    size_t received; /* bytes of body, those that were not kept included */
    struct http_request *prev, *next;
};

/* The decoded value of a query parameter, yours to free, or NULL. */
char *http_parameter(struct http_request *request, const char *name) MUST_USE;

void http_answer(struct http_request *request, int status);
/* {"message":"..."} */
void http_answer_message(struct http_request *request, int status, const char *message);
/* Runs a statement; on_rows has to answer.  An error is answered (and logged) by http.c. */
void http_query(struct http_request *request, const struct store_query *query,
                void (*on_rows)(struct http_request *request, const struct rows *rows));

/* http_endpoints.c: the whole request is there. */
void http_route(struct http_request *request);

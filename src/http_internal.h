/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_internal.h - what http.c (libmicrohttpd) and the files with the answers share:
 * http_endpoints.c (the admin port), http_management.c (@connections), http_send.c (@send) and
 * http_backend.c (events).
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
#include "sigv4.h"
#include "store.h"

enum {
    HTTP_MAX_BODY_BYTES = 131072, /* where max_message_bytes does not count */
    HTTP_MAX_SEND_BYTES = 1048576,
    HTTP_MAX_REQUEST_HEADERS = 100,
    HTTP_ADDRESS_BYTES = 46,
    UUID_BYTES = 37
};

enum http_port { HTTP_ADMIN_PORT, HTTP_WEBSOCKET_PORT, HTTP_BACKEND_PORT, HTTP_PORTS };

struct idempotency;

struct http_request {
    struct http *http;
    const struct http_env *env;
    void *connection; /* libmicrohttpd's; NULL once it is gone */
    char *method;
    char *path; /* as sent: still percent-encoded */
    int64_t started_ms;
    struct buf body;                 /* full: it was larger than management_body_limit */
    struct idempotency *idempotency; /* used where there is no database */
    char *idempotency_key;           /* of @send, or NULL */
    enum http_port port;
    unsigned int allowed;         /* management_allow, as management_allow_parse has it */
    char id[CONNECTION_ID_BYTES]; /* of @connections/{id} */
    char source_ip[HTTP_ADDRESS_BYTES];
    bool is_loopback; /* the peer is this machine */
    bool is_signed;   /* with the key of the settings */

    /* the answer; status 0: there is none yet */
    bool is_management; /* @connections, @send: carries request ids */
    int status;
    struct buf answer;
    const char *content_type; /* static texts, all four */
    const char *error_type;   /* x-amzn-ErrorType, or NULL */
    const char *allow;        /* of a 405, or NULL */
    const char *route_key;    /* of http_management_record; NULL: none is made */
    char *subprotocol;        /* Sec-WebSocket-Protocol; NULL: none */
    bool is_function_error;   /* as Lambda's API says it */
    bool is_opened;           /* it accepts a connection: on_opened is to be called */

    /* http.c's */
    void (*on_rows)(struct http_request *request, const struct rows *rows);
    size_t received; /* bytes of body, those that were not kept included */
    struct http_request *prev, *next;
    bool is_suspended;
    bool is_waiting; /* for the database, or an event's end */
};

/* The decoded value of a query parameter, yours to free, or NULL. */
char *http_parameter(struct http_request *request, const char *name) MUST_USE;
/* The last header of that name, or NULL. */
const char *http_header(struct http_request *request, const char *name);

/* Calls fn for each header, or for each query parameter, which is decoded.  One whose escapes are
 * broken is left out. */
typedef void http_field_fn(void *ctx, const char *name, const char *value);
void http_each_header(struct http_request *request, http_field_fn *fn, void *ctx);
void http_each_parameter(struct http_request *request, http_field_fn *fn, void *ctx);

/* What a signature covers, but for the body.  Lives until http_signed_done. */
struct http_signed {
    struct sigv4_request request;
    struct sigv4_header headers[HTTP_MAX_REQUEST_HEADERS];
    struct buf query;
};
/* False when there are more headers than fit. */
bool http_signed_init(struct http_signed *out, struct http_request *request) MUST_USE;
void http_signed_done(struct http_signed *signed_request);

void http_answer(struct http_request *request, int status);
/* {"message":"..."} */
void http_answer_message(struct http_request *request, int status, const char *message);
/* The same with x-amzn-ErrorType. */
void http_answer_error(struct http_request *request, int status, const char *type,
                       const char *message);
/* Runs a statement; on_rows has to answer.  An error is answered (and logged) by http.c.  There has
 * to be a database (env->store). */
void http_query(struct http_request *request, const struct store_query *query,
                void (*on_rows)(struct http_request *request, const struct rows *rows));

/* Keeps the request while somebody works on it.  Once he is done: false when the client has gone
 * meanwhile, and then so has the request. */
void http_hold(struct http_request *request);
bool http_resume(struct http_request *request) MUST_USE;

/* ---- http_endpoints.c ---- */

/* The whole request is there. */
void http_route(struct http_request *request);

/* Answers /live, /ready or /metrics; false when the path is another one. */
bool http_route_health(struct http_request *request) MUST_USE;

/* Picks the endpoint of the method, or answers 405. */
typedef void endpoint_fn(struct http_request *request);
struct methods {
    endpoint_fn *get, *post, *delete;
    const char *allow;
};
void http_run_method(struct http_request *request, const struct methods *methods);

/* ---- http_management.c ---- */

/* How large the body of a request with this path may be. */
size_t management_body_limit(const struct config *config, const char *path);
/* The path is the management API's or the extras' (request_line.h).  count 0: it has too many
 * segments, or broken ones. */
void management_route(struct http_request *request, const char *const *segments, size_t count);

/* "POST,GET,DELETE" as bits; INVALID when there is another word. */
enum status management_allow_parse(const char *text, unsigned int *out, struct error *err) MUST_USE;

/* ---- http_send.c ---- */

/* POST: it was admitted already. */
void send_post(struct http_request *request);

/* ---- http_backend.c ---- */

/* How large a request with an event may be. */
size_t events_body_limit(const struct config *config);
/* The whole request is there. */
void events_route(struct http_request *request);

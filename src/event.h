/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.h - the identifiers and the JSON of API Gateway WebSocket events.
 *
 * Shapes: the AWS_PROXY events of an API Gateway WebSocket API (CONNECT, MESSAGE, DISCONNECT);
 * compact, no nulls, absent members left out.
 */
#pragma once

#include "buf.h"
#include "http_head.h"

enum {
    CONNECTION_ID_BYTES = 21, /* 20 characters (13 bytes as base64url with "==") and a NUL */
    REQUEST_ID_BYTES = 17,    /* 16 characters (11 bytes as base64url with "=") and a NUL */
    FOREIGN_ID_BYTES = 129    /* an id that another gateway has made: up to 128 of whatever */
};

/* 13 bytes: a magic byte, a 32-bit counter that started at random, a 16-bit check of the rest, and
 * 48 random bits.  A message id has the last 6 bytes of its connection's id. */
void id_mint_connection(char out[CONNECTION_ID_BYTES]);
void id_mint_message(const char *connection_id, char out[CONNECTION_ID_BYTES]);
void id_mint_request(char out[REQUEST_ID_BYTES]);
/* True when the text could be an id that id_mint_connection made (length, alphabet, check). */
bool id_is_wellformed(const char *id);

/* What every event of a connection repeats; borrowed texts. */
struct event_context {
    const char *connection_id;
    const char *stage;
    const char *domain_name;
    const char *api_id;
    const char *source_ip;
    const char *user_agent;      /* NULL when the client sent none */
    const char *authorizer;      /* JSON object text, or NULL */
    const char *stage_variables; /* JSON object text, or NULL when the stage has none */
    const char *trace_id;        /* X-Amzn-Trace-Id of this request; NULL: one is made up */
    int64_t connected_at_ms;
    int64_t authorizer_latency_ms; /* of an authorizer that was called for this request, plus 1; 0:
                                      none was */
};

enum { TRACE_ID_BYTES = 64 };
/* "Root=1-<seconds in hexadecimal>-<96 random bits>" */
void trace_id_mint(char out[TRACE_ID_BYTES], int64_t now_ms);

/* CONNECT: headers as the client spelled them, sorted without regard to case, without Connection,
 * Upgrade and Content-Length, plus X-Forwarded-For/-Port/-Proto and X-Amzn-Trace-Id; query maps
 * only when the URL has a query; the single-value maps keep the last value. */
void event_write_connect(struct buf *out, const struct event_context *context,
                         const struct http_head *head, const char *request_id, int64_t now_ms,
                         int server_port);
/* The same request, as a REQUEST authorizer gets it: with type and methodArn, with the headers that
 * CONNECT leaves out, and with empty maps where there is nothing. */
void event_write_authorizer(struct buf *out, const struct event_context *context,
                            const struct http_head *head, const char *method_arn,
                            const char *request_id, int server_port);
/* Its member headers alone; */
void event_write_headers(struct buf *out, const struct event_context *context,
                         const struct http_head *head, int server_port);
/* and its member queryStringParameters.  False, and nothing written: there is none. */
bool event_write_query(struct buf *out, struct slice query);
/* The headers of a CONNECT event one by one, in the same order and with the same additions; the
 * last value of each.  Borrowed during the call. */
typedef void event_header_fn(void *ctx, const char *name, const char *value);
void event_each_header(const struct event_context *context, const struct http_head *head,
                       int server_port, event_header_fn *fn, void *ctx);
struct event_message {
    const char *route_key;
    const char *request_id;
    const char *message_id;
    const char *body; /* need not end in NUL */
    size_t body_len;
};
void event_write_message(struct buf *out, const struct event_context *context,
                         const struct event_message *message, int64_t now_ms);
void event_write_disconnect(struct buf *out, const struct event_context *context,
                            const char *request_id, int code, const char *reason, int64_t now_ms);

/* "25/Sep/2026:00:12:46 +0000", as requestTime and access logs have it. */
enum { EVENT_TIME_BYTES = 64 };
void event_format_time(int64_t time_ms, char out[EVENT_TIME_BYTES]);

/* The frames and bodies that a gateway makes itself, byte for byte:
 * {"message": "Forbidden", "connectionId":"...", "requestId":"..."} */
void event_write_error(struct buf *out, const char *message, const char *connection_id,
                       const char *request_id);

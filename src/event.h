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
    REQUEST_ID_BYTES = 17     /* 16 characters (11 bytes as base64url with "=") and a NUL */
};

/* 13 bytes: a magic byte, a 16-bit check of the rest, a 32-bit counter that started at random, and
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
    const char *user_agent; /* NULL when the client sent none */
    const char *authorizer; /* JSON object text, or NULL */
    int64_t connected_at_ms;
};

/* CONNECT: headers as the client spelled them, sorted without regard to case, without Connection,
 * Upgrade and Content-Length, plus X-Forwarded-For/-Port/-Proto and X-Amzn-Trace-Id; query maps
 * only when the URL has a query; the single-value maps keep the last value. */
void event_write_connect(struct buf *out, const struct event_context *context,
                         const struct http_head *head, const char *request_id, int64_t now_ms,
                         int server_port);
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

/* The frames and bodies that a gateway makes itself, byte for byte:
 * {"message": "Forbidden", "connectionId":"...", "requestId":"..."} */
void event_write_error(struct buf *out, const char *message, const char *connection_id,
                       const char *request_id);

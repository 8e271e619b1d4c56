/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_internal.h - what the files of the gateway share.
 *
 * gateway.c: life, sockets, $disconnect.  gateway_handshake.c: from a request to its 101 or its
 * refusal.  gateway_connect.c: API keys, authorizers, $connect.  gateway_message.c: messages.
 * gateway_record.c: what the access log and the metrics get.
 */
#pragma once

#include "auth.h"
#include "gateway.h"
#include "gateway_auth.h"
#include "integration.h"
#include "loop.h"

struct gateway_clock;
struct gateway_limits;
struct route_expression;

enum { GATEWAY_FRAME_BYTES = 512, GATEWAY_CLAIMS_BYTES = 64 * 1024 };

struct gateway {
    struct gateway_env env;
    struct route_expression *selection;
    struct gateway_limits *limits;
    struct gateway_clock *clock;
    bool is_accepting;
    bool is_keyless_logged;
    struct handshake *held;   /* until keys have been fetched */
    struct connection *ended; /* to be freed at the end of the turn, linked by ended_next */
    struct deferred deferred;
};

/* ---- gateway.c ---- */

/* The connection is freed at the end of the turn. */
void gateway_end_connection(struct gateway *gateway, struct connection *connection);
/* The same, when the socket is gone and every event is answered; it is deregistered. */
void gateway_end_when_answered(struct gateway *gateway, struct connection *connection);
/* What its events repeat; borrowed from the connection and the settings. */
void gateway_event_context(const struct gateway *gateway, const struct connection *connection,
                           struct event_context *out);

/* ---- gateway_handshake.c ---- */

/* From a request until it was answered. */
struct handshake {
    struct gateway *gateway;
    struct connection *connection;
    char request_id[REQUEST_ID_BYTES];
    char trace_id[TRACE_ID_BYTES];
    struct gateway_token token;
    char *subprotocol;                         /* that the integration chose; or NULL */
    const struct api_integration *integration; /* that was called; NULL: SQL, or none */
    int64_t latency_ms;                        /* of the integration; -1: there was none */
    int64_t authorizer_latency_ms;             /* the same */
    int authorizer_status;
    /* while something is waited for: */
    char *head;
    size_t head_len;
    struct jwks_waiter waiter;
    struct handshake *held_next;
    gateway_response_fn *done;
    void *ctx;
};

/* Answers; the handshake is gone afterwards.  200: it is 101.  body NULL: the gateway's own, with
 * the text that belongs to the status. */
void handshake_finish(struct handshake *handshake, int status, const char *body);
/* The gateway's own body with this text. */
void handshake_refuse(struct handshake *handshake, int status, const char *message);
/* The head belongs to the listener: what is looked at later is a copy. */
void handshake_keep_head(struct handshake *handshake, const struct http_head *head);
void handshake_kept_head(const struct handshake *handshake, struct http_head *head);
/* Registers it in the database, with the $connect route if that is SQL; then answers. */
void handshake_register(struct handshake *handshake, const struct http_head *head);

/* Those that wait for keys get 503, */
void gateway_turn_away_held(struct gateway *gateway);
/* or nothing, because whoever asked is gone. */
void gateway_free_held(struct gateway *gateway);

/* ---- gateway_connect.c ---- */

/* With an API description: API key, authorizer, integration, registration. */
void gateway_connect(struct handshake *handshake, const struct http_head *head);

/* ---- gateway_message.c ---- */

void gateway_free_held_messages(struct connection *connection);

/* ---- gateway_record.c ---- */

/* One event that is over, for the access log and the metrics. */
struct gateway_record {
    enum event_kind kind;
    const char *route_key;
    const char *request_id;
    const char *message_id; /* of a MESSAGE */
    int64_t time_ms;        /* Unix: when it came */
    int status;
    const char *error_message; /* NULL: none */
    const char *error_type;
    const struct api_integration *integration; /* that was called; NULL: SQL, or none */
    bool is_response_sent;                     /* a route's answer went to the client */
    int64_t latency_ms;                        /* of the integration; -1: there was none */
    int64_t authorizer_latency_ms;             /* -1: there was none; both of a CONNECT only */
    int authorizer_status;
};
void gateway_record(const struct gateway *gateway, const struct connection *connection,
                    const struct gateway_record *record);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_context.h - the values that one event offers to expressions: $context, the handshake's
 * headers and query, the body, stage variables.
 *
 * Mapping expressions, templates, identity sources and access logs all read from here.  A value is
 * on the caller's stack for the time of one evaluation; everything in it is borrowed.
 */
#pragma once

#include "buf.h"
#include "http_head.h"
#include "json.h"

/* $context.<name>, API Gateway developer guide, "WebSocket API mapping template and access logging
 * variable reference".  NULL, and -1 for numbers: not set. */
struct request_context {
    const char *api_id;
    const char *stage;
    const char *route_key;
    const char *event_type; /* CONNECT, MESSAGE, DISCONNECT, CONNECTION_API */
    const char *connection_id;
    const char *message_id;
    const char *request_id; /* extendedRequestId too, where extended_request_id is NULL */
    const char *extended_request_id;
    const char *domain_name;
    const char *source_ip;
    const char *user_agent;
    const char *authorizer; /* JSON object text: principalId and what the authorizer added */
    int64_t connected_at_ms;
    int64_t request_time_ms;
    int64_t disconnect_code;
    const char *disconnect_reason;
    /* known once it was answered; for access logs */
    int64_t status;
    int64_t integration_latency_ms;
    const char *error_message;
    const char *error_response_type;
    int64_t authorizer_status; /* HTTP status of the call to the authorizer */
    int64_t authorizer_latency_ms;
    const char *authorizer_error;
    const char *caller;  /* identity.caller, .user and .userArn: who signed (CONNECTION_API) */
    const char *api_key; /* identity.apiKey */
};

/* Everything unset. */
void request_context_init(struct request_context *context);

/* Adds the value of $context.<name> ("connectionId", "identity.sourceIp", "authorizer.tenant") as
 * text; false, and nothing added, when it is not known or not set. */
bool request_context_get(const struct request_context *context, const char *name, size_t len,
                         struct buf *out);

/* Everything that is set, as a JSON object with objects in it: {"identity":{"sourceIp":...}}. */
void request_context_json(const struct request_context *context, struct buf *out);
/* Bare $context, as the templates' language prints a map: {a=1, b=2}. */
void request_context_write(const struct request_context *context, struct buf *out);

struct event_values {
    const struct request_context *context;
    const struct http_head *head; /* of the handshake; NULL for messages and disconnects */
    const char *body;             /* of a MESSAGE, or of an answer; NULL: none */
    size_t body_len;
    const struct json *stage_variables; /* object, or NULL */
    struct json *parsed;                /* event_values_json's */
    bool is_parsed;
};

/* The body as JSON, parsed at the first call; NULL when it is none. */
const struct json *event_values_json(struct event_values *values);
void event_values_done(struct event_values *values); /* frees what was parsed */

/* A source as request parameters, identity sources and parts of expressions name it:
 *   route.request.header.N         route.request.multivalueheader.N   ($connect only)
 *   route.request.querystring.N    route.request.multivaluequerystring.N
 *   route.request.body[.path]      stageVariables.N     context.N     'literal'
 * Header names match in any case; the last of several values counts; multi values come joined with
 * commas. */
/* INVALID names what is wrong.  Context names are not looked up: one that is unknown has no value.
 */
enum status event_source_check(const char *source, struct error *err) MUST_USE;
/* Adds the value; false, and nothing added, when there is none.  The source passed the check. */
bool event_source_get(const char *source, struct event_values *values, struct buf *out);

/* What route.request.querystring.N and .header.N read: the last value; false when there is none. */
bool event_query_get(const struct event_values *values, struct slice name, struct buf *out);
bool event_header_get(const struct event_values *values, struct slice name, struct buf *out);

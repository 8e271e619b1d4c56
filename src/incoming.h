/* SPDX-License-Identifier: Apache-2.0 */
/*
 * incoming.h - reading an event that somebody else's gateway, or Lambda, has sent.
 *
 * Which kind it is follows from its members alone, in the order of the enum: an authorizer's event
 * looks like a CONNECT too.  Every member but the connection's id may be missing or null.
 */
#pragma once

#include "json.h"

enum incoming_kind {
    INCOMING_AUTHORIZER,  /* type REQUEST and methodArn */
    INCOMING_CONNECT,     /* requestContext.eventType, with a connectionId */
    INCOMING_MESSAGE,     /* the same */
    INCOMING_DISCONNECT,  /* the same */
    INCOMING_SCHEDULE,    /* source aws.events or aws.scheduler, detail-type Scheduled Event */
    INCOMING_EVENTBRIDGE, /* source, detail-type and detail */
    INCOMING_SQS,         /* Records[0].eventSource aws:sqs */
    INCOMING_SNS,         /* Records[0].EventSource aws:sns */
    INCOMING_HTTP,        /* a function URL, an HTTP or REST API */
    INCOMING_COMMAND,     /* {"op":"..."}: a direct invocation */
    INCOMING_UNKNOWN
};

/* Texts are borrowed from the document; NULL: not there. */
struct incoming {
    enum incoming_kind kind;
    struct json *document;
    const struct json *request_context; /* of the first four */
    bool has_authorizer;                /* one of the gateway's has let the connection in */
    const char *connection_id;
    const char *request_id;
    const char *message_id;
    const char *route_key;
    const char *stage;
    const char *domain_name;
    const char *api_id;
    const char *source_ip;
    const char *user_agent;
    const char *method_arn; /* of an authorizer's */
    const char *body;       /* of a MESSAGE; decoded when it came in base64 */
    char *decoded;
    int64_t connected_at_ms; /* 0: not there */
    int64_t code;            /* of a DISCONNECT; 1005 when it has none */
    const char *reason;      /* of a DISCONNECT; "" when it has none */
    const char *op;          /* of a COMMAND */
};

/* INVALID when it is not a JSON object.  Anything that is one has a kind. */
enum status incoming_parse(const char *text, size_t len, struct incoming *out,
                           struct error *err) MUST_USE;
void incoming_done(struct incoming *incoming);

/* A request of an HTTP_PROXY integration. */
struct incoming_field {
    const char *name;
    const char *value;
};
struct incoming_request {
    const struct incoming_field *headers;
    size_t header_count;
    const struct incoming_field *query; /* decoded */
    size_t query_count;
    const char *body; /* the message */
    size_t body_len;
};
/* The event that it is about: what the gateway was asked to put into headers (connectionId,
 * eventType, routeKey, ...) is its context again, and what else there is at a CONNECT is the
 * handshake.  INVALID names the mapping that is missing, or what cannot be read. */
enum status incoming_from_request(const struct incoming_request *request, struct incoming *out,
                                  struct error *err) MUST_USE;
/* Whether a header is part of the context: any case. */
bool incoming_is_mapped(const char *name);
const char *incoming_kind_name(enum incoming_kind kind);

/* The last value of a handshake's header (any case) or query parameter, or NULL. */
const char *incoming_header(const struct incoming *incoming, const char *name);
const char *incoming_query(const struct incoming *incoming, const char *name);

/* Writes a CONNECT event again with what SQL reads of it: headers, query, request context; with
 * authorizer (JSON object text) as requestContext.authorizer when it is not NULL, and without
 * integrationLatency. */
void incoming_write_connect(const struct incoming *incoming, const char *authorizer,
                            struct buf *out);

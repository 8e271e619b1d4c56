/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integration.h - where a gateway with an API description sends its events: mock, http, http_proxy
 * and lambda.  (sql is backend.h.)
 *
 * Any number of events at a time, over keep-alive connections; there is no order between them, as
 * API Gateway has none.  Nothing is tried again.
 */
#pragma once

#include "api.h"
#include "event.h"

struct http_pool;
struct integrations;
struct loop;

enum event_kind { EVENT_CONNECT, EVENT_MESSAGE, EVENT_DISCONNECT };

/* Everything is borrowed during integration_invoke. */
struct integration_event {
    enum event_kind kind;
    const struct event_context *context;
    const char *route_key;
    const char *request_id;
    const char *message_id;       /* of a MESSAGE */
    const struct http_head *head; /* of a CONNECT */
    const char *body;             /* of a MESSAGE */
    size_t body_len;
    int code; /* of a DISCONNECT */
    const char *reason;
    int64_t now_ms;
    bool
        wants_answer; /* $connect, or a route with a response: templates of responses are applied */
};

enum integration_outcome {
    INTEGRATION_ANSWERED,   /* with any status */
    INTEGRATION_FAILED,     /* it raised an error, or what came is no answer: 502 */
    INTEGRATION_TIMED_OUT,  /* 504 */
    INTEGRATION_UNREACHABLE /* 500 for a function, 502 for anything else over HTTP */
};

/* Borrowed during the callback. */
struct integration_result {
    enum integration_outcome outcome;
    int status;
    const char *body; /* NULL: none */
    size_t body_len;
    const char *subprotocol; /* or NULL */
    const char *error;       /* for the log; "" */
    int64_t latency_ms;      /* of the call; -1: there was none */
};

/* The HTTP status that stands for an outcome other than INTEGRATION_ANSWERED. */
int integration_status(enum integration_outcome outcome, const struct api_integration *integration);

/* Called once; maybe before integration_invoke returns (mock). */
typedef void integration_done(void *ctx, const struct integration_result *result);

struct integrations_env {
    struct loop *loop;
    struct http_pool *pool;
    const struct api *api;
    const char *api_id;
    const char *source_arn; /* "arn:aws:execute-api:us-east-1:123456789012:local/dev": the route key
                               follows */
    const int64_t *server_port; /* X-Forwarded-Port; known once somebody listens there */
    size_t max_answer_bytes;
};

struct integrations *integrations_create(const struct integrations_env *env) MUST_USE;
/* Every call that is open is answered, as failed; what is invoked from now on too. */
void integrations_close(struct integrations *integrations);
void integrations_free(struct integrations *integrations); /* closes first; NULL is allowed */

void integration_invoke(struct integrations *integrations,
                        const struct api_integration *integration,
                        const struct integration_event *event, integration_done *done, void *ctx);

/* Calls an authorizer's function with this JSON.  The result's body is what it answered, and
 * outcome is INTEGRATION_FAILED when it raised: the body is there as well. */
void integration_authorize(struct integrations *integrations,
                           const struct api_authorizer *authorizer,
                           const struct integration_event *event, const char *json,
                           integration_done *done, void *ctx);

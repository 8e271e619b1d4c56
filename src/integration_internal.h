/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integration_internal.h - what the files of integrations share.
 *
 * integration.c: calls, templates, mocks.  integration_http.c: requests over HTTP, authorizers'
 * too, and what is made of the answers.  What expressions see of an event is inline: a mock does
 * little more than look at it.
 */
#pragma once

#include "integration.h"

struct http_call;

enum { INTEGRATION_AGENT_BYTES = 160 };

struct integrations {
    struct integrations_env env;
    bool is_closed;
    struct integration_call *first;
    char agent[INTEGRATION_AGENT_BYTES]; /* User-Agent */
};

/* A copy of an event's values. */
struct integration_kept {
    struct request_context context;
    char *texts[8];
    char *body; /* of the message; NULL: none */
    size_t body_len;
};

/* From integration_invoke until done was called. */
struct integration_call {
    struct integrations *integrations;
    struct integration_call *prev, *next;
    const struct api_integration *integration; /* NULL: an authorizer */
    struct http_call *http;
    bool wants_answer;
    /* What templates of responses see of the event; NULL: there are none. */
    struct integration_kept *kept;
    int64_t began_ms;
    integration_done *done;
    void *ctx;
};

/* ---- what expressions see ---- */

static inline void integration_fill_request_context(struct request_context *out,
                                                    const struct integration_event *event)
{
    static const char *const types[] = {"CONNECT", "MESSAGE", "DISCONNECT"};
    const struct event_context *context = event->context;

    request_context_init(out);
    out->api_id = context->api_id;
    out->stage = context->stage;
    out->route_key = event->route_key;
    out->event_type = types[event->kind];
    out->connection_id = context->connection_id;
    out->message_id = event->message_id;
    out->request_id = event->request_id;
    out->domain_name = context->domain_name;
    out->source_ip = context->source_ip;
    out->user_agent = context->user_agent;
    out->authorizer = context->authorizer;
    out->connected_at_ms = context->connected_at_ms;
    out->request_time_ms = event->now_ms;
    if (event->kind == EVENT_DISCONNECT) {
        out->disconnect_code = event->code;
        out->disconnect_reason = event->reason;
    }
}

/* Everything is borrowed: the context, which is filled too, and the texts of the event. */
static inline void integration_fill_values(struct event_values *values,
                                           struct request_context *context,
                                           const struct integrations *integrations,
                                           const struct integration_event *event)
{
    integration_fill_request_context(context, event);
    *values = (struct event_values){
        .context = context,
        .head = event->head,
        .body = event->body,
        .body_len = event->body_len,
        .stage_variables = integrations->env.api->stage_variables,
    };
}

/* ---- integration.c ---- */

/* It ends with one of the next two. */
struct integration_call *integration_call_create(struct integrations *integrations,
                                                 integration_done *done, void *ctx) MUST_USE;
/* Calls done; the call is gone afterwards. */
void integration_finish(struct integration_call *call, struct integration_result *result);
void integration_finish_failed(struct integration_call *call, enum integration_outcome outcome,
                               const char *error);

/* A copy that lasts until the answer has come: the call's, in `kept`. */
struct integration_kept *integration_keep(const struct request_context *context,
                                          const struct integration_event *event) MUST_USE;

enum integration_request_body {
    INTEGRATION_REQUEST_BODY,
    INTEGRATION_REQUEST_PASSED_THROUGH,
    INTEGRATION_REQUEST_REFUSED
};

/* The request of a non-proxy integration; what no template makes is the message itself, if the
 * integration says so. */
enum integration_request_body integration_make_request(const struct api_integration *integration,
                                                       struct event_values *values,
                                                       struct buf *out);

/* The message that an expression of a response may ask about. */
struct integration_message_text {
    const char *data;
    size_t len;
};

/* Applies the templates of the response to values, whose body is the integration's; without any the
 * answer stays as it is.  False: there are responses, and none fits. */
bool integration_apply_response(const struct api_integration *integration,
                                struct event_values *values,
                                struct integration_message_text message,
                                const struct selection_answer *answer, struct buf *out);

/* ---- integration_http.c ---- */

/* Of type http or http_proxy, and of type lambda: finishes the call, maybe before it returns. */
void integration_run_http(struct integration_call *call, const struct integration_event *event);
void integration_run_lambda(struct integration_call *call, const struct integration_event *event);

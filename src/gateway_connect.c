/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_connect.c - $connect with an API description: API key, authorizer, integration.
 *
 * In this order, as API Gateway has it; an authorizer runs once for each handshake and nothing of
 * it is cached.
 */
#include "gateway_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authorizer.h"
#include "backend.h"
#include "config.h"
#include "connections.h"
#include "log.h"

enum { METHOD_ARN_BYTES = 512 };

static const struct api_route *connect_route(const struct handshake *handshake)
{
    return api_route(handshake->gateway->env.api, "$connect");
}

/* The $connect event, and what it is made of; context is the caller's. */
static void fill_event(const struct handshake *handshake, const struct http_head *head,
                       struct event_context *context, struct integration_event *event)
{
    gateway_event_context(handshake->gateway, handshake->connection, context);
    context->trace_id = handshake->trace_id;
    context->authorizer_latency_ms = handshake->authorizer_latency_ms + 1;
    *event = (struct integration_event){
        .kind = EVENT_CONNECT,
        .context = context,
        .route_key = "$connect",
        .request_id = handshake->request_id,
        .head = head,
        .now_ms = handshake->connection->connected_at_ms,
        .wants_answer = true,
    };
}

/* ---- the integration ---- */

static void accept(struct handshake *handshake, const struct http_head *head)
{
    if (handshake->gateway->env.backend) {
        handshake_register(handshake, head);
        return;
    }
    connection_release(handshake->connection); /* nobody greets it */
    handshake_finish(handshake, 200, NULL);
}

static void take_answer(struct handshake *handshake, const struct integration_result *result)
{
    struct http_head head;

    if (result->status < 200 || result->status > 299) {
        /* Below 200 would be no answer to a handshake, and 101 our own. No body: none of ours. */
        bool is_status = result->status >= 300 && result->status <= 599;

        handshake_finish(handshake, is_status ? result->status : 502,
                         is_status ? (result->body ? result->body : "") : NULL);
        return;
    }
    handshake->subprotocol = mem_strdup(result->subprotocol);
    handshake_kept_head(handshake, &head);
    accept(handshake, &head);
}

static void on_answered(void *ctx, const struct integration_result *result)
{
    struct handshake *handshake = ctx;
    const struct api_integration *integration = connect_route(handshake)->integration;

    handshake->latency_ms = result->latency_ms;
    if (result->outcome == INTEGRATION_ANSWERED) {
        take_answer(handshake, result);
        return;
    }
    log_warn("integration.failed",
             "connection=%s request=%s route=$connect integration=%s error=%s",
             connection_tag(handshake->connection), handshake->request_id,
             log_quote(integration->name), log_quote(result->error));
    handshake_finish(handshake, integration_status(result->outcome, integration), NULL);
}

static void run_integration(struct handshake *handshake, const struct http_head *head)
{
    const struct api_route *route = connect_route(handshake);
    struct event_context context;
    struct integration_event event;

    if (!route || !route->integration || route->integration->type == API_SQL) {
        accept(handshake, head);
        return;
    }
    handshake->integration = route->integration;
    handshake_keep_head(handshake, head);
    fill_event(handshake, head, &context, &event);
    integration_invoke(handshake->gateway->env.integrations, route->integration, &event,
                       on_answered, handshake);
}

/* ---- the authorizer ---- */

static void method_arn(const struct gateway *gateway, char out[METHOD_ARN_BYTES])
{
    const struct config *config = gateway->env.config;

    snprintf(out, METHOD_ARN_BYTES, "arn:aws:execute-api:%s:%s:%s/%s/$connect", config->aws_region,
             config->aws_account_id, config->api_id, config->stage);
}

/* True when every identity source has a value: without, the authorizer is not even asked. */
static bool has_identity(const struct handshake *handshake, const struct http_head *head,
                         const struct api_authorizer *authorizer)
{
    const struct gateway *gateway = handshake->gateway;
    struct request_context context;
    struct event_values values = {
        .context = &context, .head = head, .stage_variables = gateway->env.api->stage_variables};
    bool has_all = true;
    struct buf value;

    request_context_init(&context);
    context.api_id = gateway->env.config->api_id;
    context.stage = gateway->env.config->stage;
    context.route_key = "$connect";
    context.connection_id = handshake->connection->id;
    context.request_id = handshake->request_id;
    context.domain_name = handshake->connection->domain_name;
    context.source_ip = handshake->connection->source_ip;
    context.user_agent = handshake->connection->user_agent;
    context.connected_at_ms = handshake->connection->connected_at_ms;
    context.request_time_ms = handshake->connection->connected_at_ms;
    buf_init(&value, SIZE_MAX); /* a part of the head */
    for (size_t i = 0; has_all && i < authorizer->identity_count; i++) {
        buf_clear(&value);
        has_all = event_source_get(authorizer->identity_sources[i], &values, &value) && value.len;
    }
    buf_done(&value);
    event_values_done(&values);
    return has_all;
}

static void log_authorizer(const struct handshake *handshake, enum authorizer_verdict verdict,
                           const char *error)
{
    bool is_broken = verdict == AUTHORIZER_ERROR || verdict == AUTHORIZER_BROKEN;

    log_line(is_broken ? LOG_WARN : LOG_DEBUG, "authorizer.refused",
             "connection=%s request=%s status=%d error=%s", connection_tag(handshake->connection),
             handshake->request_id, authorizer_status(verdict),
             log_quote(*error ? error : authorizer_message(verdict)));
}

static void on_authorized(void *ctx, const struct integration_result *result)
{
    struct handshake *handshake = ctx;
    struct authorizer_decision decision = {.verdict = AUTHORIZER_ERROR};
    char arn[METHOD_ARN_BYTES];
    struct http_head head;

    handshake->authorizer_latency_ms = result->latency_ms;
    method_arn(handshake->gateway, arn);
    if (result->body)
        authorizer_decide(result->body, result->body_len, result->outcome == INTEGRATION_FAILED,
                          arn, &decision);
    handshake->authorizer_status = authorizer_status(decision.verdict);
    if (decision.verdict != AUTHORIZER_ALLOW) {
        log_authorizer(handshake, decision.verdict, result->error);
        handshake_refuse(handshake, authorizer_status(decision.verdict),
                         authorizer_message(decision.verdict));
    } else {
        free(handshake->connection->authorizer);
        handshake->connection->authorizer = decision.context;
        decision.context = NULL;
        handshake_kept_head(handshake, &head);
        run_integration(handshake, &head);
    }
    authorizer_decision_done(&decision);
}

static void authorize(struct handshake *handshake, const struct http_head *head,
                      const struct api_authorizer *authorizer)
{
    struct event_context context;
    struct integration_event event;
    char arn[METHOD_ARN_BYTES];
    struct buf json;

    if (!has_identity(handshake, head, authorizer)) {
        handshake->authorizer_status = 401;
        handshake_refuse(handshake, 401, "Unauthorized");
        return;
    }
    handshake_keep_head(handshake, head);
    fill_event(handshake, head, &context, &event);
    method_arn(handshake->gateway, arn);
    buf_init(&json, SIZE_MAX); /* a few times max_head_bytes at most */
    event_write_authorizer(&json, &context, head, arn, handshake->request_id,
                           (int)handshake->gateway->env.config->port);
    integration_authorize(handshake->gateway->env.integrations, authorizer, &event, buf_str(&json),
                          on_authorized, handshake);
    buf_done(&json);
}

/* ---- API keys ---- */

static bool has_api_key(const struct api *api, const struct http_head *head)
{
    const struct http_header *key = http_head_find(head, "x-api-key");

    for (size_t i = 0; key && i < api->api_key_count; i++)
        if (slice_is(key->value, api->api_keys[i]))
            return true;
    return false;
}

void gateway_connect(struct handshake *handshake, const struct http_head *head)
{
    const struct api_route *route = connect_route(handshake);

    if (route && route->needs_api_key && !has_api_key(handshake->gateway->env.api, head))
        handshake_finish(handshake, 403, "{\"message\":\"Forbidden\"}");
    else if (route && route->authorizer)
        authorize(handshake, head, route->authorizer);
    else
        run_integration(handshake, head);
}

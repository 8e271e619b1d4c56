/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integration_http.c - calls over HTTP: of a server (http_proxy and http), and of functions the way
 * Lambda is invoked (lambda, and authorizers).
 */
#include "integration_internal.h"

#include <stdlib.h>
#include <string.h>

#include "http_client.h"
#include "lambda_response.h"

enum {
    MAX_HEADERS = HTTP_MAX_HEADERS + 64,
    MAX_URL_BYTES = 16 * 1024,
    /* What is put into an event or a URL is at most a few times what the client may send. */
    MAX_REQUEST_BYTES = 256 * 1024 * 1024,
    FUNCTION_ANSWER_BYTES = 6 * 1024 * 1024 /* Lambda's limit of a response */
};

/* ---- the request ---- */

/* What is collected for one HTTP request; texts in `texts`, which does not move while they are
 * used: offsets until then. */
struct outgoing {
    struct http_pool_header headers[MAX_HEADERS];
    size_t header_count;
    char *owned[2 * MAX_HEADERS];
    size_t owned_count;
    struct buf url;
    struct buf query; /* mapped parameters */
    bool is_full;
};

static void outgoing_init(struct outgoing *out, const char *url)
{
    /* Not the arrays: those are 8 KB. */
    out->header_count = 0;
    out->owned_count = 0;
    out->is_full = false;
    buf_init(&out->url, MAX_URL_BYTES);
    buf_init(&out->query, MAX_URL_BYTES);
    buf_adds(&out->url, url);
}

static void outgoing_done(struct outgoing *out)
{
    for (size_t i = 0; i < out->owned_count; i++)
        free(out->owned[i]);
    buf_done(&out->url);
    buf_done(&out->query);
}

static const char *own(struct outgoing *out, const char *text)
{
    return out->owned[out->owned_count++] = mem_strdup(text);
}

static bool is_same_name(const char *a, const char *b)
{
    return slice_is_nocase((struct slice){a, strlen(a)}, b);
}

/* The last one of a name counts: what is mapped wins over what the client sent. */
static void set_header(struct outgoing *out, const char *name, const char *value)
{
    for (size_t i = 0; i < out->header_count; i++) {
        if (is_same_name(out->headers[i].name, name)) {
            out->headers[i].value = value;
            return;
        }
    }
    if (out->header_count == MAX_HEADERS)
        out->is_full = true;
    else
        out->headers[out->header_count++] = (struct http_pool_header){name, value};
}

/* Puts the value where {name} stands in the URL. */
static void fill_path(struct buf *url, const char *name, const char *value)
{
    char *text = buf_take(url);
    size_t len = strlen(name);
    const char *at = text;

    buf_init(url, MAX_URL_BYTES);
    while (*at) {
        if (*at == '{' && strncmp(at + 1, name, len) == 0 && at[1 + len] == '}') {
            url_encode(url, (struct slice){value, strlen(value)}, false);
            at += len + 2;
        } else {
            buf_addc(url, *at++);
        }
    }
    free(text);
}

static void on_parameter(void *ctx, enum mapping_target target, const char *name, const char *value)
{
    struct outgoing *out = ctx;

    switch (target) {
    case MAPPING_HEADER:
        if (out->owned_count + 2 > ARRAY_LEN(out->owned)) {
            out->is_full = true;
            return;
        }
        name = own(out, name);
        set_header(out, name, own(out, value));
        break;
    case MAPPING_QUERY:
        buf_addc(&out->query, out->query.len ? '&' : '?');
        url_encode(&out->query, (struct slice){name, strlen(name)}, false);
        buf_addc(&out->query, '=');
        url_encode(&out->query, (struct slice){value, strlen(value)}, false);
        break;
    case MAPPING_PATH:
        fill_path(&out->url, name, value);
        break;
    }
}

/* The query goes behind the URL's own, in front of nothing: fragments were refused. */
static const char *finish_url(struct outgoing *out)
{
    if (out->query.len) {
        if (strchr(buf_str(&out->url), '?'))
            out->query.data[0] = '&';
        buf_adds(&out->url, buf_str(&out->query));
    }
    return buf_str(&out->url);
}

static void on_client_header(void *ctx, const char *name, const char *value)
{
    struct outgoing *out = ctx;

    if (is_same_name(name, "Host") || is_same_name(name, "Transfer-Encoding") ||
        is_same_name(name, "Keep-Alive") || is_same_name(name, "TE"))
        return;
    if (out->owned_count + 2 > ARRAY_LEN(out->owned)) {
        out->is_full = true;
        return;
    }
    name = own(out, name);
    set_header(out, name, own(out, value));
}

/* ---- answers over HTTP ---- */

static const char *answer_header(const void *ctx, const char *name)
{
    return http_answer_header(ctx, name);
}

/* True when there is nothing to look at: done was called. */
static bool finish_unanswered(struct integration_call *call, const struct http_pool_answer *answer)
{
    switch (answer->outcome) {
    case HTTP_ANSWERED:
        return false;
    case HTTP_TIMED_OUT:
        integration_finish_failed(call, INTEGRATION_TIMED_OUT, answer->error);
        return true;
    case HTTP_UNREACHABLE:
        integration_finish_failed(call, INTEGRATION_UNREACHABLE, answer->error);
        return true;
    case HTTP_BROKEN:
    case HTTP_TOO_LARGE:
        integration_finish_failed(call, INTEGRATION_FAILED, answer->error);
        return true;
    }
    return false;
}

static void on_http_answer(void *ctx, const struct http_pool_answer *answer)
{
    struct integration_call *call = ctx;
    const struct selection_answer view = {answer->status, answer_header, answer};
    struct integration_kept *kept = call->kept;
    struct integration_result result = {.outcome = INTEGRATION_ANSWERED,
                                        .status = answer->status,
                                        .body = answer->body,
                                        .body_len = answer->body_len,
                                        .error = ""};
    struct buf body;

    call->http = NULL;
    if (finish_unanswered(call, answer))
        return;
    result.subprotocol = http_answer_header(answer, "Sec-WebSocket-Protocol");
    buf_init(&body, call->integrations->env.max_answer_bytes);
    if (kept) {
        struct event_values values = {.context = &kept->context,
                                      .body = answer->body,
                                      .body_len = answer->body_len,
                                      .stage_variables =
                                          call->integrations->env.api->stage_variables};

        if (integration_apply_response(
                call->integration, &values,
                (struct integration_message_text){kept->body, kept->body_len}, &view, &body)) {
            result.body = buf_str(&body);
            result.body_len = body.len;
        } else {
            result = (struct integration_result){.outcome = INTEGRATION_FAILED,
                                                 .error = "no response fits the status"};
        }
        event_values_done(&values);
    }
    integration_finish(call, &result);
    buf_done(&body);
}

/* Anything but 200 is about the call, not from the function: throttled, no such function, ... */
static bool is_function_error(const struct http_pool_answer *answer)
{
    return answer->status != 200 || http_answer_header(answer, "X-Amz-Function-Error") != NULL;
}

static void on_function_answer(void *ctx, const struct http_pool_answer *answer)
{
    struct integration_call *call = ctx;
    struct integration_result result = {.outcome = INTEGRATION_FAILED, .error = ""};
    struct lambda_response response;

    call->http = NULL;
    if (finish_unanswered(call, answer))
        return;
    lambda_response_parse(answer->body, answer->body_len, is_function_error(answer), &response);
    switch (response.kind) {
    case LAMBDA_RESPONSE_PROXY:
        result.outcome = INTEGRATION_ANSWERED;
        result.status = response.status;
        result.body = response.body;
        result.body_len = response.body_len;
        result.subprotocol = response.subprotocol;
        break;
    case LAMBDA_RESPONSE_NONE: /* of $connect there has to be an answer */
        result.outcome = call->wants_answer ? INTEGRATION_FAILED : INTEGRATION_ANSWERED;
        result.status = 200;
        result.error = call->wants_answer ? "the function answered nothing" : "";
        break;
    case LAMBDA_RESPONSE_MALFORMED:
        result.error = "the function's answer has no statusCode";
        break;
    case LAMBDA_RESPONSE_ERROR:
        result.error = "the function raised an error";
        break;
    }
    integration_finish(call, &result);
    lambda_response_done(&response);
}

static void on_authorizer_answer(void *ctx, const struct http_pool_answer *answer)
{
    struct integration_call *call = ctx;
    struct integration_result result = {.outcome = INTEGRATION_ANSWERED,
                                        .status = answer->status,
                                        .body = answer->body,
                                        .body_len = answer->body_len,
                                        .error = ""};

    call->http = NULL;
    if (finish_unanswered(call, answer))
        return;
    if (is_function_error(answer))
        result.outcome = INTEGRATION_FAILED;
    integration_finish(call, &result);
}

/* ---- requests over HTTP ---- */

static void add_gateway_headers(struct outgoing *out, const struct integrations *integrations,
                                const struct integration_event *event, char trace[TRACE_ID_BYTES])
{
    if (!event->context->trace_id)
        trace_id_mint(trace, event->now_ms);
    set_header(out, "User-Agent", integrations->agent);
    set_header(out, "x-amzn-apigateway-api-id", integrations->env.api_id);
    set_header(out, "X-Amzn-Trace-Id", event->context->trace_id ? event->context->trace_id : trace);
}

struct request_plan {
    const char *method;
    int64_t timeout_ms;
    const char *body;
    size_t body_len;
    size_t max_answer_bytes;
    http_pool_done *done;
};

static void send_request(struct integration_call *call, struct outgoing *out,
                         const struct request_plan *plan)
{
    struct http_pool_request request = {
        .method = plan->method,
        .url = finish_url(out),
        .headers = out->headers,
        .header_count = out->header_count,
        .body = plan->body,
        .body_len = plan->body_len,
        .timeout_ms = plan->timeout_ms,
        .max_answer_bytes = plan->max_answer_bytes,
    };

    if (out->is_full || buf_full(&out->url) || buf_full(&out->query))
        integration_finish_failed(call, INTEGRATION_FAILED, "the request is too large");
    else
        call->http = http_pool_start(call->integrations->env.pool, &request, plan->done, call);
}

void integration_run_http(struct integration_call *call, const struct integration_event *event)
{
    const struct api_integration *integration = call->integration;
    const struct integrations *integrations = call->integrations;
    struct request_plan plan = {.method = integration->method,
                                .timeout_ms = integration->timeout_ms,
                                .body = event->kind == EVENT_MESSAGE ? event->body : NULL,
                                .body_len = event->body_len,
                                .max_answer_bytes = integrations->env.max_answer_bytes,
                                .done = on_http_answer};
    char trace[TRACE_ID_BYTES];
    struct request_context context;
    struct event_values values;
    struct outgoing out;
    struct buf body;

    integration_fill_values(&values, &context, integrations, event);
    outgoing_init(&out, integration->url);
    buf_init(&body, MAX_REQUEST_BYTES);
    if (event->head && integration->type == API_HTTP_PROXY)
        event_each_header(event->context, event->head, (int)*integrations->env.server_port,
                          on_client_header, &out);
    add_gateway_headers(&out, integrations, event, trace);
    if (integration->request_parameters)
        mapping_apply(integration->request_parameters, &values, on_parameter, &out);
    if (integration->type == API_HTTP) {
        if (call->wants_answer)
            call->kept = integration_keep(&context, event);
        set_header(&out, "Content-Type", "application/json");
        plan.body = NULL;
        if (integration_make_request(integration, &values, &body) != INTEGRATION_REQUEST_REFUSED)
            plan.body = buf_str(&body);
        plan.body_len = body.len;
    }
    if (integration->type == API_HTTP && !plan.body)
        integration_finish_failed(call, INTEGRATION_FAILED, "no request template fits the message");
    else
        send_request(call, &out, &plan);
    event_values_done(&values);
    outgoing_done(&out);
    buf_done(&body);
}

/* The headers of Lambda's Invoke as API Gateway calls it. */
static void add_invoke_headers(struct outgoing *out, const struct integrations *integrations,
                               const struct integration_event *event)
{
    struct buf arn;

    buf_init(&arn, 1024);
    buf_adds(&arn, integrations->env.source_arn);
    buf_addc(&arn, '/');
    buf_adds(&arn, event->route_key);
    set_header(out, "Content-Type", "application/json");
    set_header(out, "Accept", "application/json");
    set_header(out, "x-amzn-lambda-integration-tag", event->request_id);
    /* A route key may be any text, a header may not. */
    if (!buf_full(&arn) && strcspn(buf_str(&arn), "\r\n") == arn.len)
        set_header(out, "X-Amz-Source-Arn", own(out, buf_str(&arn)));
    buf_done(&arn);
}

static void write_event(struct buf *out, const struct integrations *integrations,
                        const struct integration_event *event)
{
    struct event_message message = {event->route_key, event->request_id, event->message_id,
                                    event->body, event->body_len};

    switch (event->kind) {
    case EVENT_CONNECT:
        event_write_connect(out, event->context, event->head, event->request_id, event->now_ms,
                            (int)*integrations->env.server_port);
        break;
    case EVENT_MESSAGE:
        event_write_message(out, event->context, &message, event->now_ms);
        break;
    case EVENT_DISCONNECT:
        event_write_disconnect(out, event->context, event->request_id, event->code, event->reason,
                               event->now_ms);
        break;
    }
}

static void invoke_function(struct integration_call *call, const char *url,
                            const struct integration_event *event, struct request_plan *plan)
{
    char trace[TRACE_ID_BYTES];
    struct outgoing out;

    outgoing_init(&out, url);
    add_gateway_headers(&out, call->integrations, event, trace);
    add_invoke_headers(&out, call->integrations, event);
    plan->method = "POST";
    plan->max_answer_bytes = FUNCTION_ANSWER_BYTES;
    send_request(call, &out, plan);
    outgoing_done(&out);
}

void integration_run_lambda(struct integration_call *call, const struct integration_event *event)
{
    struct request_plan plan = {.timeout_ms = call->integration->timeout_ms,
                                .done = on_function_answer};
    struct buf json;

    buf_init(&json, MAX_REQUEST_BYTES);
    write_event(&json, call->integrations, event);
    plan.body = buf_str(&json);
    plan.body_len = json.len;
    invoke_function(call, call->integration->url, event, &plan);
    buf_done(&json);
}

void integration_authorize(struct integrations *integrations,
                           const struct api_authorizer *authorizer,
                           const struct integration_event *event, const char *json,
                           integration_done *done, void *ctx)
{
    struct integration_call *call = integration_call_create(integrations, done, ctx);
    struct request_plan plan = {.timeout_ms = authorizer->timeout_ms,
                                .body = json,
                                .body_len = strlen(json),
                                .done = on_authorizer_answer};

    if (integrations->is_closed)
        integration_finish_failed(call, INTEGRATION_FAILED, "stopping");
    else
        invoke_function(call, authorizer->url, event, &plan);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integration.c - the interface and the life of a call, what templates make of an event, and mocks,
 * which need no call.
 */
#include "integration_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "http_client.h"

/* ---- life of a call ---- */

struct integration_call *integration_call_create(struct integrations *integrations,
                                                 integration_done *done, void *ctx)
{
    struct integration_call *call = mem_alloc(sizeof(*call));

    call->integrations = integrations;
    call->began_ms = clock_mono_ms();
    call->done = done;
    call->ctx = ctx;
    call->next = integrations->first;
    if (call->next)
        call->next->prev = call;
    integrations->first = call;
    return call;
}

static void kept_free(struct integration_kept *kept)
{
    if (!kept)
        return;
    for (size_t i = 0; i < ARRAY_LEN(kept->texts); i++)
        free(kept->texts[i]);
    free(kept->body);
    free(kept);
}

static void unlink_call(struct integration_call *call)
{
    if (call->prev)
        call->prev->next = call->next;
    else if (call->integrations->first == call)
        call->integrations->first = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->prev = call->next = NULL;
}

void integration_finish(struct integration_call *call, struct integration_result *result)
{
    unlink_call(call);
    result->latency_ms = clock_mono_ms() - call->began_ms;
    call->done(call->ctx, result);
    kept_free(call->kept);
    free(call);
}

void integration_finish_failed(struct integration_call *call, enum integration_outcome outcome,
                               const char *error)
{
    struct integration_result result = {.outcome = outcome, .error = error};

    integration_finish(call, &result);
}

/* ---- what is kept of an event ---- */

/* api_id and stage live as long as the program. */
struct integration_kept *integration_keep(const struct request_context *context,
                                          const struct integration_event *event)
{
    struct integration_kept *kept = mem_alloc(sizeof(*kept));
    struct request_context *copy = &kept->context;
    const char **texts[] = {&copy->route_key,  &copy->connection_id, &copy->message_id,
                            &copy->request_id, &copy->domain_name,   &copy->source_ip,
                            &copy->user_agent, &copy->authorizer};

    *copy = *context;
    copy->disconnect_reason = NULL;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = kept->texts[i] = mem_strdup(*texts[i]);
    if (event->body) {
        kept->body = mem_strndup(event->body, event->body_len);
        kept->body_len = event->body_len;
    }
    return kept;
}

/* ---- templates ---- */

/* Renders into out; false when it cannot. */
static bool render(const struct template *template, struct event_values *values, struct buf *out)
{
    return template_render(template, values, out, NULL) == OK;
}

enum integration_request_body integration_make_request(const struct api_integration *integration,
                                                       struct event_values *values, struct buf *out)
{
    const struct api_templates *templates = &integration->request_templates;
    const struct template *template =
        api_template(templates, values->body, values->body_len, NULL, NULL);

    if (template)
        return render(template, values, out) ? INTEGRATION_REQUEST_BODY
                                             : INTEGRATION_REQUEST_REFUSED;
    if (integration->passthrough == API_NEVER ||
        (integration->passthrough == API_WHEN_NO_TEMPLATES && templates->count > 0))
        return INTEGRATION_REQUEST_REFUSED;
    if (values->body)
        buf_add(out, values->body, values->body_len);
    return INTEGRATION_REQUEST_PASSED_THROUGH;
}

bool integration_apply_response(const struct api_integration *integration,
                                struct event_values *values,
                                struct integration_message_text message,
                                const struct selection_answer *answer, struct buf *out)
{
    const struct api_response *response;
    const struct template *template;
    char status[API_STATUS_BYTES];

    if (integration->response_count == 0) {
        if (values->body)
            buf_add(out, values->body, values->body_len);
        return true;
    }
    response = api_response(integration, answer->status);
    if (!response)
        return false;
    api_status_text(answer->status, status);
    template = api_template(&response->templates, message.data, message.len, answer, status);
    if (template)
        return render(template, values, out);
    if (values->body)
        buf_add(out, values->body, values->body_len);
    return true;
}

/* ---- mock ---- */

/* The status that its request template says; what is wrong with that, or NULL. */
static const char *ask_mock(const struct api_integration *integration, struct event_values *values,
                            size_t most, int *status)
{
    const char *error = NULL;
    struct buf request;

    *status = integration->mock_status;
    if (*status)
        return NULL;
    buf_init(&request, most);
    if (integration_make_request(integration, values, &request) == INTEGRATION_REQUEST_REFUSED)
        error = "the request template gives nothing";
    else if (!api_mock_status(buf_str(&request), request.len, status))
        error = "the request template does not give {\"statusCode\":...}";
    buf_done(&request);
    return error;
}

/* Whom an answer goes to. */
struct completion {
    integration_done *done;
    void *ctx;
};

/* Answers at once: there is no call. */
static void run_mock(struct integrations *integrations, const struct api_integration *integration,
                     const struct integration_event *event, struct completion completion)
{
    size_t most = integrations->env.max_answer_bytes;
    struct integration_result result = {
        .outcome = INTEGRATION_FAILED, .error = "", .latency_ms = 0};
    struct request_context context;
    struct event_values values;
    struct selection_answer answer = {0};
    struct buf body;
    const char *error;

    integration_fill_values(&values, &context, integrations, event);
    buf_init(&body, most);
    error = ask_mock(integration, &values, most, &answer.status);
    if (error)
        result.error = error;
    else if (integration->response_count > 0 && event->wants_answer &&
             !integration_apply_response(
                 integration, &values,
                 (struct integration_message_text){event->body, event->body_len}, &answer, &body))
        result.error = "no response fits the status";
    else
        result =
            (struct integration_result){.outcome = INTEGRATION_ANSWERED,
                                        .status = answer.status,
                                        .body = integration->response_count ? buf_str(&body) : NULL,
                                        .body_len = body.len,
                                        .error = ""};
    event_values_done(&values);
    completion.done(completion.ctx, &result);
    buf_done(&body);
}

/* ---- the interface ---- */

int integration_status(enum integration_outcome outcome, const struct api_integration *integration)
{
    switch (outcome) {
    case INTEGRATION_ANSWERED:
        return 200;
    case INTEGRATION_FAILED:
        return 502;
    case INTEGRATION_TIMED_OUT:
        return 504;
    case INTEGRATION_UNREACHABLE:
        return integration->type == API_LAMBDA ? 500 : 502;
    }
    return 500;
}

void integration_invoke(struct integrations *integrations,
                        const struct api_integration *integration,
                        const struct integration_event *event, integration_done *done, void *ctx)
{
    struct integration_call *call;

    if (integration->type == API_MOCK && !integrations->is_closed) {
        run_mock(integrations, integration, event, (struct completion){done, ctx});
        return;
    }
    call = integration_call_create(integrations, done, ctx);
    call->integration = integration;
    call->wants_answer = event->wants_answer;
    if (integrations->is_closed) {
        integration_finish_failed(call, INTEGRATION_FAILED, "stopping");
        return;
    }
    switch (integration->type) {
    case API_HTTP_PROXY:
    case API_HTTP:
        integration_run_http(call, event);
        break;
    case API_LAMBDA:
        integration_run_lambda(call, event);
        break;
    case API_MOCK:
    case API_SQL:
        assert(integration->type != API_SQL); /* the backend's */
        break;
    }
}

struct integrations *integrations_create(const struct integrations_env *env)
{
    struct integrations *integrations = mem_alloc(sizeof(*integrations));

    integrations->env = *env;
    snprintf(integrations->agent, sizeof(integrations->agent), "AmazonAPIGateway_%.128s",
             env->api_id);
    return integrations;
}

void integrations_close(struct integrations *integrations)
{
    integrations->is_closed = true;
    while (integrations->first) {
        struct integration_call *call = integrations->first;

        integrations->first = call->next;
        if (call->next)
            call->next->prev = NULL;
        call->next = NULL;
        if (call->http)
            http_call_cancel(call->http);
        integration_finish_failed(call, INTEGRATION_FAILED, "stopping");
    }
}

void integrations_free(struct integrations *integrations)
{
    if (!integrations)
        return;
    integrations_close(integrations);
    free(integrations);
}

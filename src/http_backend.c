/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_backend.c - events of somebody else's gateway, over HTTP.
 *
 * As requests of an HTTP_PROXY integration: the event is in mapped headers, the message is the
 * body, and the answer to $connect is the status.  Or as JSON, in both directions, as a Lambda
 * function has it; but only on paths that are for that, because the body of an HTTP_PROXY request
 * is what a client wrote, and must never be taken for an event.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "crypto.h"
#include "http_internal.h"
#include "incoming.h"
#include "json.h"
#include "log.h"
#include "metrics.h"
#include "stateless.h"

enum {
    JSON_GROWTH = 6, /* of a character: \u001f */
    EVENT_BYTES = 128 * 1024,
    FIELDS_MOST = 256,
    ANSWER_SHARE = 50
};

static const char secret_header[] = "x-switchboard-secret";

size_t events_body_limit(const struct config *config)
{
    return JSON_GROWTH * (size_t)config->max_message_bytes + EVENT_BYTES;
}

/* The gateway waits no longer than that, and the answer has to get there. */
static int64_t deadline_of(const struct http_request *request)
{
    int64_t timeout_ms = request->env->config->integration_timeout_ms;

    return clock_mono_ms() + timeout_ms - timeout_ms / ANSWER_SHARE;
}

/* ---- counting ---- */

static void count_event(struct metrics *metrics, enum incoming_kind kind)
{
    if (kind == INCOMING_CONNECT)
        metrics->connects++;
    else if (kind == INCOMING_MESSAGE)
        metrics->messages_in++;
    else
        metrics->disconnects++;
}

static void count_connect(struct metrics *metrics, int status)
{
    if (status == 200)
        metrics->connects_accepted++;
    else if (status < 500)
        metrics->connects_refused++;
    else
        metrics->connects_failed++;
}

/* False when nobody waits for the answer any more.  What was to follow it is tried all the same:
 * that is how it comes out that there is no such connection. */
static bool resume_connect(struct http_request *request, int status)
{
    const struct http_env *env = request->env;

    count_connect(env->metrics, status);
    if (http_resume(request)) {
        request->is_opened = status == 200;
        return true;
    }
    if (status == 200 && env->on_opened)
        env->on_opened(env->ctx);
    return false;
}

/* ---- HTTP_PROXY ---- */

static void answer_empty(struct http_request *request, int status)
{
    request->content_type = NULL;
    http_answer(request, status);
}

static void on_connected(void *ctx, const struct stateless_response *response)
{
    struct http_request *request = ctx;

    if (!resume_connect(request, response->status))
        return;
    request->subprotocol = mem_strdup(response->subprotocol);
    if (!response->body) {
        answer_empty(request, response->status);
        return;
    }
    buf_adds(&request->answer, response->body);
    http_answer(request, response->status);
}

/* 200 whatever became of the message: the client has been told, and the gateway would tell it once
 * more. */
static void on_message_done(void *ctx, const struct stateless_response *response)
{
    struct http_request *request = ctx;

    (void)response;
    if (http_resume(request))
        answer_empty(request, 200);
}

static void on_disconnected(void *ctx, const struct stateless_response *response)
{
    struct http_request *request = ctx;

    if (http_resume(request))
        answer_empty(request, response->status);
}

/* The names and values of a request, which borrow from it. */
struct fields {
    struct incoming_field items[FIELDS_MOST];
    size_t count;
    bool is_full;
};

static void take_header(void *ctx, const char *name, const char *value)
{
    struct fields *fields = ctx;

    if (strcasecmp(name, secret_header) == 0)
        return;
    if (fields->count == FIELDS_MOST)
        fields->is_full = true;
    else
        fields->items[fields->count++] = (struct incoming_field){name, value};
}

static void take_parameter(void *ctx, const char *name, const char *value)
{
    struct fields *fields = ctx;

    if (fields->count == FIELDS_MOST)
        fields->is_full = true;
    else
        fields->items[fields->count++] =
            (struct incoming_field){mem_strdup(name), mem_strdup(value)};
}

static void free_parameters(struct fields *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        free((void *)(uintptr_t)fields->items[i].name);
        free((void *)(uintptr_t)fields->items[i].value);
    }
    free(fields);
}

static void run_event(struct http_request *request, const struct incoming *event,
                      stateless_done *done)
{
    count_event(request->env->metrics, event->kind);
    http_hold(request);
    stateless_event(request->env->stateless, event, deadline_of(request), done, request);
}

static enum status read_request(struct http_request *request, struct incoming *event,
                                struct error *err)
{
    struct fields *headers = mem_alloc(sizeof(*headers));
    struct fields *parameters = mem_alloc(sizeof(*parameters));
    struct incoming_request source = {.headers = headers->items,
                                      .query = parameters->items,
                                      .body = request->body.data,
                                      .body_len = request->body.len};
    enum status status;

    http_each_header(request, take_header, headers);
    http_each_parameter(request, take_parameter, parameters);
    source.header_count = headers->count;
    source.query_count = parameters->count;
    if (headers->is_full || parameters->is_full)
        status = fail(err, LIMIT, "There are more than %d headers or parameters", FIELDS_MOST);
    else
        status = incoming_from_request(&source, event, err);
    free(headers);
    free_parameters(parameters);
    return status;
}

static void run_request(struct http_request *request)
{
    struct incoming event = {.kind = INCOMING_UNKNOWN};
    struct error err = {0};

    if (read_request(request, &event, &err) != OK) {
        log_warn("events.refused", "error=%s", log_quote(err.text));
        http_answer_message(request, 400, err.text);
        return;
    }
    if (event.kind == INCOMING_CONNECT)
        run_event(request, &event, on_connected);
    else if (event.kind == INCOMING_MESSAGE)
        run_event(request, &event, on_message_done);
    else
        run_event(request, &event, on_disconnected);
    incoming_done(&event);
}

/* ---- events as JSON ---- */

static void answer_event(struct http_request *request, const struct stateless_response *response)
{
    stateless_write_response(response, &request->answer);
    http_answer(request, 200);
}

static void on_event_done(void *ctx, const struct stateless_response *response)
{
    if (http_resume(ctx))
        answer_event(ctx, response);
}

static void on_connect_event_done(void *ctx, const struct stateless_response *response)
{
    if (resume_connect(ctx, response->status))
        answer_event(ctx, response);
}

/* As Lambda says that a function failed: "Unauthorized", to the letter, becomes a 401. */
static void on_policy(void *ctx, int status, const char *text)
{
    struct http_request *request = ctx;

    if (!http_resume(request))
        return;
    request->is_function_error = status != 200;
    if (status == 200) {
        buf_adds(&request->answer, text);
    } else {
        json_open(&request->answer, NULL, '{');
        json_str(&request->answer, "errorMessage", text);
        json_str(&request->answer, "errorType",
                 status == 401 ? "Function.Unauthorized" : "Function.AuthorizerFailed");
        json_close(&request->answer, '}');
    }
    http_answer(request, 200);
}

static int status_of(enum status status)
{
    if (status == INVALID)
        return 400;
    return status == UNAVAILABLE ? 503 : 500;
}

static void on_text(void *ctx, const struct error *err, const char *text)
{
    struct http_request *request = ctx;

    if (err)
        log_warn("events.command_failed", "error=%s sqlstate=%s", log_quote(err->text),
                 err->sqlstate);
    if (!http_resume(request))
        return;
    if (err) {
        http_answer_message(request, status_of(err->status),
                            err->status == INVALID ? err->text : "The command failed");
        return;
    }
    buf_adds(&request->answer, text);
    http_answer(request, 200);
}

static void run_json_event(struct http_request *request, const struct incoming *event)
{
    struct stateless *stateless = request->env->stateless;

    switch (event->kind) {
    case INCOMING_CONNECT:
        run_event(request, event, on_connect_event_done);
        break;
    case INCOMING_MESSAGE:
    case INCOMING_DISCONNECT:
        run_event(request, event, on_event_done);
        break;
    case INCOMING_AUTHORIZER:
        http_hold(request);
        stateless_authorize(stateless, event, on_policy, request);
        break;
    case INCOMING_SCHEDULE:
        http_hold(request);
        stateless_housekeep(stateless, deadline_of(request), on_text, request);
        break;
    case INCOMING_COMMAND:
        http_hold(request);
        stateless_command(stateless, event, deadline_of(request), on_text, request);
        break;
    case INCOMING_EVENTBRIDGE:
    case INCOMING_SQS:
    case INCOMING_SNS:
    case INCOMING_HTTP:
    case INCOMING_UNKNOWN:
        http_answer_message(request, 400, "This is no event of a WebSocket API, and no command");
        break;
    }
}

static void run_json(struct http_request *request)
{
    struct incoming event;
    struct error err = {0};

    if (incoming_parse(buf_str(&request->body), request->body.len, &event, &err) != OK) {
        http_answer_message(request, 400, err.text);
        return;
    }
    run_json_event(request, &event);
    incoming_done(&event);
}

/* ---- routing ---- */

/* /2015-03-31/functions/{name}/invocations, whatever the name is. */
static bool is_invoke_path(const char *path)
{
    static const char front[] = "/2015-03-31/functions/";
    static const char end[] = "/invocations";
    const char *name = path + strlen(front);

    if (strncmp(path, front, strlen(front)) != 0 || *name == '/')
        return false;
    name += strcspn(name, "/");
    return strcmp(name, end) == 0;
}

static bool is_for_json(const char *path)
{
    return strcmp(path, "/events") == 0 || is_invoke_path(path);
}

static bool has_secret(struct http_request *request)
{
    const char *secret = request->env->config->backend_secret;
    const char *given = http_header(request, secret_header);
    size_t len = strlen(secret);

    return len == 0 || (given && strlen(given) == len && crypto_is_equal(given, secret, len));
}

static bool is_health_probe(const struct http_request *request)
{
    return strcmp(request->path, "/live") == 0 || strcmp(request->path, "/ready") == 0;
}

static void answer_wrong_method(struct http_request *request, const char *allow)
{
    request->allow = allow;
    http_answer_message(request, 405, "Method not allowed");
}

static bool is_method(const struct http_request *request, const char *method)
{
    return strcmp(request->method, method) == 0;
}

void events_route(struct http_request *request)
{
    bool is_post = is_method(request, "POST");

    if (!is_health_probe(request) && !has_secret(request))
        http_answer_message(request, 403, "Forbidden");
    else if (http_route_health(request))
        return;
    else if (buf_full(&request->body))
        http_answer_message(request, 413, "The body is too large");
    else if (is_for_json(request->path) && is_post)
        run_json(request);
    else if (is_for_json(request->path))
        answer_wrong_method(request, "POST");
    else if (is_post || is_method(request, "GET") || is_method(request, "PUT"))
        run_request(request);
    else
        answer_wrong_method(request, "GET, POST, PUT");
}

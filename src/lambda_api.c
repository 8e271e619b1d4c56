/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lambda_api.c - the Runtime API, 2018-06-01.
 *
 * Which answer means what: Lambda developer guide, "Using the Lambda runtime API", and what
 * Lambda's runtime interface emulator does.
 */
#include "lambda_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "log.h"

enum {
    POST_TIMEOUT_MS = 10000,
    REGISTER_TIMEOUT_MS = 1000,
    EVENT_BYTES = 16 * 1024 * 1024, /* more than Lambda sends */
    ANSWER_BYTES = 64 * 1024,
    SAFETY_MS = 150 /* of the invocation's time, for answering it */
};

static const char agent[] = "switchboard/" SWITCHBOARD_VERSION;

static void write_url(char out[LAMBDA_URL_BYTES], const char *path)
{
    const char *host = getenv("AWS_LAMBDA_RUNTIME_API");

    snprintf(out, LAMBDA_URL_BYTES, "http://%s%s", host ? host : "", path);
}

/* ---- an invocation begins ---- */

/* Unix milliseconds to the monotonic clock; without a deadline: Lambda's longest. */
static int64_t deadline_of(const char *text)
{
    const int64_t longest_ms = 15 * 60 * 1000;
    int64_t left_ms = longest_ms;

    if (text && *text)
        left_ms = strtoll(text, NULL, 10) - clock_unix_ms();
    if (left_ms > longest_ms)
        left_ms = longest_ms;
    return clock_mono_ms() + left_ms - SAFETY_MS;
}

static void take_header(const struct http_pool_answer *answer, const char *name, char *out,
                        size_t size)
{
    const char *value = http_answer_header(answer, name);

    snprintf(out, size, "%s", value ? value : "");
}

/* Custom runtimes set it themselves; libraries and X-Ray look there. */
static void set_trace_id(const char *trace_id)
{
    if (trace_id && *trace_id)
        (void)setenv("_X_AMZN_TRACE_ID", trace_id, 1);
    else
        (void)unsetenv("_X_AMZN_TRACE_ID");
}

static void on_next(void *ctx, const struct http_pool_answer *answer)
{
    struct lambda *lambda = ctx;
    char status[64];

    if (answer->outcome != HTTP_ANSWERED) {
        lambda_exit(lambda, answer->error);
        return;
    }
    if (answer->status != 200) {
        snprintf(status, sizeof(status), "GET /next was answered %d", answer->status);
        lambda_exit(lambda, status);
        return;
    }
    take_header(answer, "Lambda-Runtime-Aws-Request-Id", lambda->request_id,
                sizeof(lambda->request_id));
    if (!*lambda->request_id) {
        lambda_exit(lambda, "an invocation has no request id");
        return;
    }
    take_header(answer, "Lambda-Runtime-Invocation-Id", lambda->invocation_id,
                sizeof(lambda->invocation_id));
    set_trace_id(http_answer_header(answer, "Lambda-Runtime-Trace-Id"));
    log_set_request_id(lambda->request_id);
    lambda->began_ms = clock_mono_ms();
    lambda->deadline_ms = deadline_of(http_answer_header(answer, "Lambda-Runtime-Deadline-Ms"));
    lambda->body = mem_strndup(answer->body ? answer->body : "", answer->body_len);
    lambda->body_len = answer->body_len;
    lambda_begin(lambda);
}

void lambda_next(struct lambda *lambda)
{
    const struct http_pool_header headers[] = {{"User-Agent", agent}};
    char url[LAMBDA_URL_BYTES];
    const struct http_pool_request request = {
        .method = "GET",
        .url = url,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .timeout_ms = 0,
        .is_fresh = true, /* a kept one may have died while the process was frozen */
        .max_answer_bytes = EVENT_BYTES,
    };

    log_set_request_id(NULL);
    if (lambda->is_stopping) /* the event would be lost */
        return;
    write_url(url, "/2018-06-01/runtime/invocation/next");
    (void)http_pool_start(lambda->runtime, &request, on_next, lambda);
}

/* ---- and ends ---- */

/* Whether the next event may be asked for.  400: this is not the invocation that runs; asking again
 * would bring the same event for ever.  403: it was answered already.  410: it timed out, and
 * somebody else has it.  413: too large, and Lambda has told the caller. */
static bool may_go_on(const struct http_pool_answer *answer)
{
    if (answer->outcome != HTTP_ANSWERED)
        return false;
    return answer->status == 202 || answer->status == 403 || answer->status == 410 ||
           answer->status == 413;
}

static void on_posted(void *ctx, const struct http_pool_answer *answer)
{
    struct lambda *lambda = ctx;
    char why[128];

    if (answer->outcome != HTTP_ANSWERED || answer->status != 202)
        log_warn("lambda.not_accepted", "what=%s status=%d error=%s", lambda->what, answer->status,
                 log_quote(answer->error));
    snprintf(why, sizeof(why), "the %s was answered %d", lambda->what, answer->status);
    if (may_go_on(answer))
        lambda->posted(lambda);
    else
        lambda_exit(lambda, why);
}

static void post(struct lambda *lambda, const char *what, const char *error_type, const char *body,
                 size_t len, lambda_posted *done)
{
    struct http_pool_header headers[4] = {{"User-Agent", agent},
                                          {"Content-Type", "application/json"}};
    size_t count = 2;
    char path[LAMBDA_URL_BYTES / 2], url[LAMBDA_URL_BYTES];
    struct http_pool_request request = {.method = "POST",
                                        .url = url,
                                        .headers = headers,
                                        .body = body,
                                        .body_len = len,
                                        .timeout_ms = POST_TIMEOUT_MS,
                                        .max_answer_bytes = ANSWER_BYTES};

    if (lambda->is_stopping)
        return;
    lambda->what = what;
    lambda->posted = done;
    if (*lambda->invocation_id)
        headers[count++] =
            (struct http_pool_header){"Lambda-Runtime-Invocation-Id", lambda->invocation_id};
    if (error_type)
        headers[count++] =
            (struct http_pool_header){"Lambda-Runtime-Function-Error-Type", error_type};
    request.header_count = count;
    snprintf(path, sizeof(path), "/2018-06-01/runtime/invocation/%s/%s", lambda->request_id, what);
    write_url(url, path);
    (void)http_pool_start(lambda->runtime, &request, on_posted, lambda);
}

void lambda_respond(struct lambda *lambda, const char *body, size_t len, lambda_posted *done)
{
    if (len > LAMBDA_RESPONSE_BYTES)
        lambda_fail(lambda, "Function.ResponseSizeTooLarge", "the response is too large", done);
    else
        post(lambda, "response", NULL, body, len, done);
}

static void write_error(struct buf *out, const char *type, const char *text)
{
    json_open(out, NULL, '{');
    json_str(out, "errorMessage", text);
    json_str(out, "errorType", type);
    json_open(out, "stackTrace", '[');
    json_close(out, ']');
    json_close(out, '}');
}

void lambda_fail(struct lambda *lambda, const char *type, const char *text, lambda_posted *done)
{
    struct buf body;

    buf_init(&body, ANSWER_BYTES);
    write_error(&body, type, text);
    post(lambda, "error", type, buf_str(&body), body.len, done);
    buf_done(&body);
}

/* ---- start ---- */

/* Blocks: nothing else goes on yet, or ever will. */
void lambda_fail_init(const char *type, const char *text)
{
    char error_type[LAMBDA_URL_BYTES];
    const char *const headers[] = {error_type, NULL};
    char url[LAMBDA_URL_BYTES];
    struct http_client_request request = {
        .url = url, .headers = headers, .timeout_ms = POST_TIMEOUT_MS, .is_local = true};
    struct error err = {0};
    struct buf body, answer;
    long status;

    snprintf(error_type, sizeof(error_type), "Lambda-Runtime-Function-Error-Type: %.100s", type);
    write_url(url, "/2018-06-01/runtime/init/error");
    buf_init(&body, ANSWER_BYTES);
    buf_init(&answer, ANSWER_BYTES);
    write_error(&body, type, text);
    request.body = buf_str(&body);
    if (http_client_request(&request, &answer, &status, &err) != OK)
        log_error("lambda.init_error_not_told", "error=%s", log_quote(err.text));
    buf_done(&body);
    buf_done(&answer);
}

static void on_extension_event(void *ctx, const struct http_pool_answer *answer)
{
    (void)ctx; /* it asked for no events, so nothing comes before the end */
    (void)answer;
}

/* Stays open until the end. */
static void await_extension_events(struct lambda *lambda, const char *identifier)
{
    const struct http_pool_header headers[] = {{"Lambda-Extension-Identifier", identifier}};
    char url[LAMBDA_URL_BYTES];
    const struct http_pool_request request = {.method = "GET",
                                              .url = url,
                                              .headers = headers,
                                              .header_count = ARRAY_LEN(headers),
                                              .is_fresh = true,
                                              .max_answer_bytes = ANSWER_BYTES};

    write_url(url, "/2020-01-01/extension/event/next");
    (void)http_pool_start(lambda->runtime, &request, on_extension_event, lambda);
}

static void on_registered(void *ctx, const struct http_pool_answer *answer)
{
    struct lambda *lambda = ctx;
    const char *identifier = NULL;

    if (answer->outcome == HTTP_ANSWERED && answer->status == 200)
        identifier = http_answer_header(answer, "Lambda-Extension-Identifier");
    if (identifier)
        await_extension_events(lambda, identifier);
    else
        log_debug("lambda.no_extension", "status=%d next=%s", answer->status,
                  log_quote("going on without a warning before the end"));
    lambda_next(lambda);
}

/* Lambda sends SIGTERM before SIGKILL only to sandboxes with an extension; with it the database
 * connection is closed instead of left behind. */
void lambda_register(struct lambda *lambda)
{
    static const char body[] = "{\"events\":[]}";
    const struct http_pool_header headers[] = {{"Lambda-Extension-Name", "switchboard"},
                                               {"Content-Type", "application/json"}};
    char url[LAMBDA_URL_BYTES];
    const struct http_pool_request request = {.method = "POST",
                                              .url = url,
                                              .headers = headers,
                                              .header_count = ARRAY_LEN(headers),
                                              .body = body,
                                              .body_len = sizeof(body) - 1,
                                              .timeout_ms = REGISTER_TIMEOUT_MS,
                                              .max_answer_bytes = ANSWER_BYTES};

    write_url(url, "/2020-01-01/extension/register");
    (void)http_pool_start(lambda->runtime, &request, on_registered, lambda);
}

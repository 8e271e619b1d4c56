/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_endpoints.c - what the admin port answers.
 *
 * Errors are {"message":"..."}, except where the management API of API Gateway has an empty body.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudwatch.h"
#include "config.h"
#include "connections.h"
#include "delivery.h"
#include "follower.h"
#include "http_head.h"
#include "http_internal.h"
#include "json.h"
#include "metrics.h"
#include "request_line.h"

enum {
    MAX_EMAIL_BYTES = 320, /* RFC 5321: 64 for the local part, 255 for the domain, the @ */
    MAX_SEGMENTS = 3,
    MAX_LISTED = 1000,
    DEFAULT_LISTED = 100
};

/* ---- health ---- */

static void get_live(struct http_request *request)
{
    json_open(&request->answer, NULL, '{');
    json_str(&request->answer, "status", "live");
    json_close(&request->answer, '}');
    http_answer(request, 200);
}

static void get_ready(struct http_request *request)
{
    const char *reason = NULL;
    bool is_ready = request->env->is_ready(request->env->ctx, &reason);

    json_open(&request->answer, NULL, '{');
    json_bool(&request->answer, "ready", is_ready);
    if (!is_ready)
        json_str(&request->answer, "reason", reason);
    json_close(&request->answer, '}');
    http_answer(request, is_ready ? 200 : 503);
}

static void get_metrics(struct http_request *request)
{
    request->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_write(request->env->metrics, &request->answer);
    if (request->env->cloudwatch)
        cloudwatch_write(request->env->cloudwatch, &request->answer);
    http_answer(request, 200);
}

/* ---- GET /connections ---- */

/* A page that is full has a next one, after its last id. */
static void on_listed(struct http_request *request, const struct rows *rows)
{
    size_t count = rows_count(rows);
    const char *next = NULL;

    json_open(&request->answer, NULL, '{');
    json_open(&request->answer, "connections", '[');
    for (size_t i = 0; i < count; i++) {
        json_raw(&request->answer, NULL, rows_text(rows, i, 0), rows_len(rows, i, 0));
        if (rows_bool(rows, i, 2))
            next = rows_text(rows, i, 1);
    }
    json_close(&request->answer, ']');
    json_str(&request->answer, "next", next);
    json_close(&request->answer, '}');
    http_answer(request, 200);
}

/* -1 when it is no number from 1 to MAX_LISTED. */
static long parse_limit(const char *text)
{
    char *end;
    long limit;

    if (!text)
        return DEFAULT_LISTED;
    limit = strtol(text, &end, 10);
    return end != text && *end == '\0' && limit >= 1 && limit <= MAX_LISTED ? limit : -1;
}

static void get_connections(struct http_request *request)
{
    char *limit_text = http_parameter(request, "limit");
    char *after = http_parameter(request, "after");
    long limit = parse_limit(limit_text);
    char limit_param[16];
    const char *params[] = {limit_param, after};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "list_connections",
        .sql = "select connection, connection->>'connection_id',"
               " row_number() over () = $1::integer"
               " from switchboard.list_connections($1::integer, $2)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    snprintf(limit_param, sizeof(limit_param), "%ld", limit);
    if (limit < 0)
        http_answer_message(request, 400, "limit must be a number from 1 to 1000");
    else if (after && !utf8_is_valid(after, strlen(after)))
        http_answer_message(request, 400, "after must be UTF-8");
    else
        http_query(request, &query, on_listed);
    free(limit_text);
    free(after);
}

/* ---- POST /email-verifications ---- */

static void on_notified(struct http_request *request, const struct rows *rows)
{
    bool is_delivered = rows_count(rows) > 0 && rows_bool(rows, 0, 0);

    json_open(&request->answer, NULL, '{');
    json_str(&request->answer, "email", rows_text(rows, 0, 1));
    json_bool(&request->answer, "delivered", is_delivered);
    json_close(&request->answer, '}');
    if (is_delivered)
        follower_wake(request->env->follower);
    http_answer(request, 200);
}

static bool is_blank(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return *text == '\0';
}

static void notify_verified(struct http_request *request, const char *email)
{
    const char *params[] = {email};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "notify_email_verified",
        .sql = "select switchboard.notify_email_verified($1), lower(btrim($1))",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    http_query(request, &query, on_notified);
}

static void post_email_verification(struct http_request *request)
{
    struct json *json = NULL;
    const char *email = NULL;

    if (json_parse(buf_str(&request->body), request->body.len, &json, NULL) != OK)
        http_answer_message(request, 400, "The body must be JSON: {\"email\":\"...\"}");
    else if (json_type(json) != JSON_OBJECT || json_get_str(json, "email", &email, NULL) != OK)
        http_answer_message(request, 400, "The body must have a text \"email\"");
    else if (is_blank(email))
        http_answer_message(request, 400, "email is blank");
    else if (strlen(email) > MAX_EMAIL_BYTES)
        http_answer_message(request, 400, "email is too long");
    else
        notify_verified(request, email);
    json_free(json);
}

/* ---- POST /users/{userId} and /topics/{topic} ---- */

static void on_sent(struct http_request *request, const struct rows *rows)
{
    json_open(&request->answer, NULL, '{');
    json_int(&request->answer, "reached", rows_int(rows, 0, 0));
    json_close(&request->answer, '}');
    follower_wake(request->env->follower); /* also for nobody: one may be connecting right now */
    http_answer(request, 200);
}

static void on_published(struct http_request *request, const struct rows *rows)
{
    (void)rows;
    json_open(&request->answer, NULL, '{');
    json_bool(&request->answer, "published", true);
    json_close(&request->answer, '}');
    follower_wake(request->env->follower);
    http_answer(request, 200);
}

struct audience {
    const char *segment; /* of the path, in front of the name */
    const char *query_name;
    const char *sql;
    void (*on_rows)(struct http_request *request, const struct rows *rows);
};

static const struct audience audiences[] = {
    {"users", "broadcast_to_user", "select switchboard.broadcast_to_user($1, $2::jsonb)", on_sent},
    {"topics", "publish", "select switchboard.publish($1, $2::jsonb)", on_published},
};

static const struct audience *find_audience(const char *segment)
{
    for (size_t i = 0; i < ARRAY_LEN(audiences); i++)
        if (strcmp(audiences[i].segment, segment) == 0)
            return &audiences[i];
    return NULL;
}

static void post_to_audience(struct http_request *request, const struct audience *audience,
                             const char *name)
{
    const char *params[] = {name, buf_str(&request->body)};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = audience->query_name,
        .sql = audience->sql,
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    http_query(request, &query, audience->on_rows);
}

static bool is_json(struct buf *text)
{
    struct json *json = NULL;
    enum status st = json_parse(buf_str(text), text->len, &json, NULL);

    json_free(json);
    return st == OK;
}

static void run_audience(struct http_request *request, const struct audience *audience,
                         const char *name)
{
    if (buf_full(&request->body)) {
        http_answer_message(request, 413, "The body is too large");
    } else if (strcmp(request->method, "POST") != 0) {
        request->allow = "POST";
        http_answer_message(request, 405, "Method not allowed");
    } else if (*name == '\0' || !utf8_is_valid(name, strlen(name))) {
        http_answer_message(request, 400, "The name in the path must be UTF-8 and not empty");
    } else if (!is_json(&request->body)) {
        http_answer_message(request, 400, "The body must be JSON: it is the message");
    } else if (!request->env->store) {
        http_answer_message(request, 501, "There is no database behind this server");
    } else {
        post_to_audience(request, audience, name);
    }
}

/* ---- routing ---- */

void http_run_method(struct http_request *request, const struct methods *methods)
{
    endpoint_fn *endpoint = NULL;

    if (strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0)
        endpoint = methods->get;
    else if (strcmp(request->method, "POST") == 0)
        endpoint = methods->post;
    else if (strcmp(request->method, "DELETE") == 0)
        endpoint = methods->delete;
    if (endpoint) {
        endpoint(request);
        return;
    }
    request->allow = methods->allow;
    http_answer_message(request, 405, "Method not allowed");
}

static void run_path(struct http_request *request, const char *name)
{
    static const struct {
        const char *name;
        bool needs_database;
        struct methods methods;
    } table[] = {
        {"live", false, {get_live, NULL, NULL, "GET"}},
        {"ready", false, {get_ready, NULL, NULL, "GET"}},
        {"metrics", false, {get_metrics, NULL, NULL, "GET"}},
        {"connections", true, {get_connections, NULL, NULL, "GET"}},
        {"email-verifications", true, {NULL, post_email_verification, NULL, "POST"}},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name) != 0)
            continue;
        if (buf_full(&request->body))
            http_answer_message(request, 413, "The body is too large");
        else if (table[i].needs_database && !request->env->store)
            http_answer_message(request, 501, "There is no database behind this server");
        else
            http_run_method(request, &table[i].methods);
        return;
    }
    http_answer_message(request, 404, "Not found");
}

bool http_route_health(struct http_request *request)
{
    static const char *const paths[] = {"/live", "/ready", "/metrics"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (strcmp(request->path, paths[i]) == 0) {
            run_path(request, paths[i] + 1);
            return true;
        }
    }
    return false;
}

/* Splits the path at its slashes and decodes each piece, in one go: 0 for a path that has more
 * pieces or a broken escape.  The texts are in storage, which is as long as the path. */
static size_t split_path(const char *path, char *storage, const char *segments[MAX_SEGMENTS])
{
    size_t count = 0;

    while (*path == '/') {
        size_t len = strcspn(path + 1, "/");
        long decoded;

        if (count == MAX_SEGMENTS)
            return 0;
        decoded = url_decode((struct slice){path + 1, len}, false, storage);
        if (decoded < 0)
            return 0;
        segments[count++] = storage;
        storage += decoded + 1;
        path += len + 1;
    }
    return count;
}

static void route_admin(struct http_request *request, const char *const *segments, size_t count)
{
    if (count == 1)
        run_path(request, segments[0]);
    else if (count == 2 && find_audience(segments[0]))
        run_audience(request, find_audience(segments[0]), segments[1]);
    else
        http_answer_message(request, 404, "Not found");
}

void http_route(struct http_request *request)
{
    const char *segments[MAX_SEGMENTS];
    char *storage = mem_alloc(strlen(request->path) + 1);
    size_t count = split_path(request->path, storage, segments);

    if (request_path_look(request->path) != REQUEST_PATH_OTHER)
        management_route(request, segments, count);
    else
        route_admin(request, segments, count);
    free(storage);
}

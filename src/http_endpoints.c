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

#include "config.h"
#include "connections.h"
#include "delivery.h"
#include "follower.h"
#include "http_head.h"
#include "http_internal.h"
#include "json.h"
#include "metrics.h"

enum {
    MAX_EMAIL_BYTES = 320, /* RFC 5321: 64 for the local part, 255 for the domain, the @ */
    MAX_SEGMENTS = 3,
    MAX_LISTED = 1000,
    DEFAULT_LISTED = 100,
    TIME_BYTES = 32
};

typedef void endpoint_fn(struct http_request *request);

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

/* ---- @connections ---- */

static void answer_gone(struct http_request *request)
{
    request->error_type = "GoneException";
    buf_clear(&request->answer);
    http_answer(request, 410);
}

/* The answers of functions that say whether the connection was there. */
static void on_posted(struct http_request *request, const struct rows *rows)
{
    if (rows_count(rows) == 0 || !rows_bool(rows, 0, 0)) {
        answer_gone(request);
        return;
    }
    follower_wake(request->env->follower);
    http_answer(request, 200);
}

static void on_deleted(struct http_request *request, const struct rows *rows)
{
    if (rows_count(rows) == 0 || !rows_bool(rows, 0, 0)) {
        answer_gone(request);
        return;
    }
    follower_wake(request->env->follower);
    http_answer(request, 204);
}

/* Any bytes become a text message: what is not UTF-8 is replaced by U+FFFD, byte by byte. keep_nul:
 * PostgreSQL's text has no NUL, a frame may. */
static void add_as_text(struct buf *out, const struct buf *body, bool keep_nul)
{
    const char *end = body->data + body->len;
    size_t len;

    for (const char *at = body->data; at < end; at += len ? len : 1) {
        len = utf8_char_len(at, (size_t)(end - at));
        if (len && (*at || keep_nul))
            buf_add(out, at, len);
        else
            buf_adds(out, "\xEF\xBF\xBD");
    }
}

static void post_elsewhere(struct http_request *request)
{
    struct buf text;
    const char *params[] = {request->id, NULL};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "post_to_connection",
        .sql = "select switchboard.post_to_connection($1, $2)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    buf_init(&text, HTTP_MAX_BODY_BYTES * 3);
    add_as_text(&text, &request->body, false);
    params[1] = buf_str(&text);
    http_query(request, &query, on_posted);
    buf_done(&text);
}

/* The connection is open, so not reaching it means that its queue is full. */
static void post_here(struct http_request *request, struct connection *connection)
{
    const struct delivery_context context = {request->env->connections, request->env->metrics};
    struct delivery delivery = {.kind = DELIVERY_CONNECTION, .target = connection->id};
    struct buf text;

    buf_init(&text, HTTP_MAX_BODY_BYTES * 3);
    add_as_text(&text, &request->body, true);
    delivery.payload = buf_str(&text);
    delivery.payload_len = text.len;
    if (deliver(&context, connection, &delivery) == 0) {
        request->error_type = "LimitExceededException";
        http_answer_message(request, 429, "The client does not read fast enough");
    } else {
        http_answer(request, 200);
    }
    buf_done(&text);
}

static void post_connection(struct http_request *request)
{
    struct connection *connection = connection_find(request->env->connections, request->id);

    request->env->metrics->posts++;
    if (!connection)
        post_elsewhere(request);
    else if (connection->state == CONNECTION_OPEN)
        post_here(request, connection);
    else
        answer_gone(request);
}

static void format_time(int64_t unix_ms, char out[TIME_BYTES])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    size_t len;

    gmtime_r(&seconds, &tm);
    len = strftime(out, TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + len, TIME_BYTES - len, ".%03dZ", (int)(unix_ms % 1000));
}

struct connection_info {
    const char *source_ip;
    const char *user_agent; /* NULL when none */
    int64_t connected_at_ms;
    int64_t last_active_ms;
};

/* With a space on both sides of the colon, as API Gateway writes it. */
static void add_member(struct buf *out, const char *indent, const char *key, const char *value)
{
    buf_addf(out, "%s\"%s\" : ", indent, key);
    json_str(out, NULL, value);
}

static void answer_info(struct http_request *request, const struct connection_info *info)
{
    struct buf *out = &request->answer;
    char connected_at[TIME_BYTES];
    char last_active[TIME_BYTES];

    format_time(info->connected_at_ms, connected_at);
    format_time(info->last_active_ms, last_active);
    buf_adds(out, "{\n  \"identity\" : {\n");
    add_member(out, "    ", "sourceIp", info->source_ip);
    add_member(out, ",\n    ", "userAgent", info->user_agent);
    buf_adds(out, "\n  },\n");
    add_member(out, "  ", "connectedAt", connected_at);
    add_member(out, ",\n  ", "lastActiveAt", last_active);
    buf_adds(out, "\n}");
    http_answer(request, 200);
}

static void on_found(struct http_request *request, const struct rows *rows)
{
    struct connection_info info;

    if (rows_count(rows) == 0) {
        answer_gone(request);
        return;
    }
    info.source_ip = rows_text(rows, 0, 0);
    info.user_agent = rows_text(rows, 0, 1);
    info.connected_at_ms = rows_int(rows, 0, 2);
    info.last_active_ms = rows_int(rows, 0, 3);
    answer_info(request, &info);
}

/* The list begins after an id; an id without its last character, which is always the same, stands
 * right in front of it. */
static void get_elsewhere(struct http_request *request)
{
    const char *params[] = {request->id};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "get_connection",
        .sql = "select connection->>'source_ip', connection->>'user_agent',"
               " (extract(epoch from (connection->>'connected_at')::timestamptz) * 1000)::bigint,"
               " (extract(epoch from (connection->>'last_activity_at')::timestamptz)"
               " * 1000)::bigint"
               " from switchboard.list_connections(1, left($1, -1))"
               " where connection->>'connection_id' = $1",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    http_query(request, &query, on_found);
}

static void get_connection(struct http_request *request)
{
    const struct connection *connection = connection_find(request->env->connections, request->id);
    struct connection_info info;

    if (!connection) {
        get_elsewhere(request);
        return;
    }
    if (connection->state != CONNECTION_OPEN) {
        answer_gone(request);
        return;
    }
    info.source_ip = connection->source_ip;
    info.user_agent = connection->user_agent;
    info.connected_at_ms = connection->connected_at_ms;
    info.last_active_ms = connection->last_activity_ms;
    answer_info(request, &info);
}

static void delete_elsewhere(struct http_request *request)
{
    const char *params[] = {request->id};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "close_connection",
        .sql = "select switchboard.close_connection($1, 1000, 'Connection Closed Normally')",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    http_query(request, &query, on_deleted);
}

static void delete_connection(struct http_request *request)
{
    struct connection *connection = connection_find(request->env->connections, request->id);

    if (!connection) {
        delete_elsewhere(request);
    } else if (connection->state == CONNECTION_OPEN) {
        connection_close(connection, 1000, "Connection Closed Normally");
        http_answer(request, 204);
    } else {
        answer_gone(request);
    }
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
    } else {
        post_to_audience(request, audience, name);
    }
}

/* ---- routing ---- */

struct methods {
    endpoint_fn *get, *post, *delete;
    const char *allow;
};

static void run_method(struct http_request *request, const struct methods *methods)
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

static void answer_invalid_id(struct http_request *request, const char *id)
{
    char message[128];

    snprintf(message, sizeof(message), "Invalid connectionId: %.80s", id);
    request->error_type = "BadRequestException";
    http_answer_message(request, 400, message);
}

/* The order of the checks is API Gateway's: size, stage, id. */
static void run_management(struct http_request *request, const char *stage, const char *id)
{
    static const struct methods methods = {get_connection, post_connection, delete_connection,
                                           "GET, POST, DELETE"};

    if (buf_full(&request->body)) {
        request->content_type = NULL;
        http_answer(request, 413);
        return;
    }
    request->is_management = true;
    if (stage && strcmp(stage, request->env->config->stage) != 0) {
        request->error_type = "ForbiddenException";
        http_answer_message(request, 403, "Forbidden");
    } else if (!id_is_wellformed(id)) {
        answer_invalid_id(request, id);
    } else {
        snprintf(request->id, sizeof(request->id), "%s", id);
        run_method(request, &methods);
    }
}

static void run_path(struct http_request *request, const char *name)
{
    static const struct {
        const char *name;
        struct methods methods;
    } table[] = {
        {"live", {get_live, NULL, NULL, "GET"}},
        {"ready", {get_ready, NULL, NULL, "GET"}},
        {"metrics", {get_metrics, NULL, NULL, "GET"}},
        {"connections", {get_connections, NULL, NULL, "GET"}},
        {"email-verifications", {NULL, post_email_verification, NULL, "POST"}},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name) != 0)
            continue;
        if (buf_full(&request->body))
            http_answer_message(request, 413, "The body is too large");
        else
            run_method(request, &table[i].methods);
        return;
    }
    http_answer_message(request, 404, "Not found");
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

void http_route(struct http_request *request)
{
    const char *segments[MAX_SEGMENTS];
    char *storage = mem_alloc(strlen(request->path) + 1);
    size_t count = split_path(request->path, storage, segments);

    if (count == 1)
        run_path(request, segments[0]);
    else if (count == 2 && strcmp(segments[0], "@connections") == 0)
        run_management(request, NULL, segments[1]);
    else if (count == 2 && find_audience(segments[0]))
        run_audience(request, find_audience(segments[0]), segments[1]);
    else if (count == 3 && strcmp(segments[1], "@connections") == 0)
        run_management(request, segments[0], segments[2]);
    else
        http_answer_message(request, 404, "Not found");
    free(storage);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_management.c - the management API of API Gateway: POST, GET and DELETE of @connections.
 *
 * Statuses, headers, bodies and the order of the checks are API Gateway's: size, stage, id,
 * signature, permission, and only then whether the connection is there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "connections.h"
#include "delivery.h"
#include "follower.h"
#include "gateway.h"
#include "http_internal.h"
#include "json.h"
#include "metrics.h"
#include "request_line.h"

enum { TIME_BYTES = 32, MESSAGE_BYTES = 512 };

enum management_method { MAY_POST = 1, MAY_GET = 2, MAY_DELETE = 4 };

static const char service[] = "execute-api";

/* There is no account behind this; a policy's message names one. */
#define ACCOUNT "000000000000"
#define MASKED_ACCOUNT "********0000"

size_t management_body_limit(const struct config *config, const char *path)
{
    size_t message = (size_t)config->max_message_bytes;
    size_t least = HTTP_MAX_BODY_BYTES;

    switch (request_path_look(path)) {
    case REQUEST_PATH_CONNECTIONS:
        return message;
    case REQUEST_PATH_SEND:
        least = HTTP_MAX_SEND_BYTES;
        break;
    case REQUEST_PATH_OTHER:
        break;
    }
    return message > least ? message : least;
}

/* ---- who may ---- */

static const struct {
    const char *word;
    unsigned int bit;
} methods_allowed[] = {{"POST", MAY_POST}, {"GET", MAY_GET}, {"DELETE", MAY_DELETE}};

static unsigned int method_bit(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(methods_allowed); i++)
        if (slice_is(word, methods_allowed[i].word))
            return methods_allowed[i].bit;
    return 0;
}

enum status management_allow_parse(const char *text, unsigned int *out, struct error *err)
{
    unsigned int bits = 0;

    while (*text) {
        struct slice word = {text, strcspn(text, ",")};
        unsigned int bit = method_bit(word);

        if (!bit)
            return fail(err, INVALID, "management_allow: \"%.*s\" is none of POST, GET, DELETE",
                        word.len > 100 ? 100 : (int)word.len, word.data);
        bits |= bit;
        text += word.len;
        text += *text == ',';
    }
    *out = bits;
    return OK;
}

static const char *error_type(enum sigv4_result result)
{
    switch (result) {
    case SIGV4_GOOD:
        break;
    case SIGV4_MISSING:
        return "MissingAuthenticationTokenException";
    case SIGV4_INCOMPLETE:
        return "IncompleteSignatureException";
    case SIGV4_UNKNOWN_KEY:
        return "UnrecognizedClientException";
    case SIGV4_WRONG:
        return "InvalidSignatureException";
    }
    return NULL;
}

static enum sigv4_result check_signature(struct http_request *request,
                                         const struct sigv4_request *signed_request,
                                         struct error *err)
{
    const struct config *config = request->env->config;
    struct sigv4_credentials credentials = {
        .access_key_id = config->management_access_key_id,
        .secret_access_key = config->management_secret_access_key,
    };
    enum sigv4_result result =
        sigv4_verify(signed_request, &credentials, service, request->started_ms / 1000, err);

    request->is_signed = result == SIGV4_GOOD;
    return result;
}

/* Without a key there is nothing to check a signature with: this machine is trusted, where that
 * was asked for. */
static enum sigv4_result check_peer(const struct http_request *request,
                                    const struct sigv4_request *signed_request, struct error *err)
{
    bool is_trusted =
        request->port == HTTP_ADMIN_PORT || strcmp(request->env->config->development, "on") == 0;

    if (request->is_loopback && is_trusted)
        return SIGV4_GOOD;
    if (sigv4_is_signed(signed_request)) {
        fail(err, DENIED, "The security token included in the request is invalid.");
        return SIGV4_UNKNOWN_KEY;
    }
    fail(err, DENIED, "Missing Authentication Token");
    return SIGV4_MISSING;
}

static bool is_authentic(struct http_request *request)
{
    struct http_signed *signed_request = mem_alloc(sizeof(*signed_request));
    enum sigv4_result result = SIGV4_INCOMPLETE;
    struct error err = {0};

    if (!http_signed_init(signed_request, request))
        fail(&err, LIMIT, "The request has too many headers");
    else if (*request->env->config->management_access_key_id)
        result = check_signature(request, &signed_request->request, &err);
    else
        result = check_peer(request, &signed_request->request, &err);
    if (result != SIGV4_GOOD)
        http_answer_error(request, 403, error_type(result), err.text);
    http_signed_done(signed_request);
    free(signed_request);
    return result == SIGV4_GOOD;
}

/* With a capital M, the account of the resource hidden, and the path of the template, whatever was
 * asked for: a policy cannot name a connection. */
static void answer_denied(struct http_request *request)
{
    const struct config *config = request->env->config;
    const char *key = config->management_access_key_id;
    struct http_signed *signed_request = mem_alloc(sizeof(*signed_request));
    char region[SIGV4_REGION_BYTES] = "";
    struct buf text;

    if (http_signed_init(signed_request, request))
        sigv4_region(&signed_request->request, region);
    http_signed_done(signed_request);
    free(signed_request);
    buf_init(&text, MESSAGE_BYTES * 2);
    buf_addf(&text,
             "User: arn:aws:iam::" ACCOUNT ":user/%s is not authorized to perform: "
             "execute-api:ManageConnections on resource: arn:aws:execute-api:%s:" MASKED_ACCOUNT
             ":%s/%s/%s/@connections/{connectionId} because no identity-based policy allows the "
             "execute-api:ManageConnections action",
             *key ? key : "anonymous", *region ? region : "us-east-1", config->api_id,
             config->stage, request->method);
    request->error_type = "AccessDeniedException";
    json_open(&request->answer, NULL, '{');
    json_str(&request->answer, "Message", buf_str(&text));
    json_close(&request->answer, '}');
    buf_done(&text);
    http_answer(request, 403);
}

static bool is_permitted(struct http_request *request)
{
    const char *method = strcmp(request->method, "HEAD") == 0 ? "GET" : request->method;
    unsigned int bit = method_bit((struct slice){method, strlen(method)});

    if (!bit || (request->allowed & bit))
        return true; /* other methods are refused as such */
    answer_denied(request);
    return false;
}

/* Signed requests alone: whoever may not ask cannot use up what the others have. */
static bool is_within_rate(struct http_request *request)
{
    if (!request->env->gateway || gateway_take_request(request->env->gateway))
        return true;
    http_answer_error(request, 429, "LimitExceededException", "Too Many Requests");
    return false;
}

/* The admin port has always taken paths without a stage; API Gateway has no such thing. */
static bool is_stage(const struct http_request *request, const char *stage)
{
    if (!stage)
        return request->port == HTTP_ADMIN_PORT;
    return strcmp(stage, request->env->config->stage) == 0;
}

/* ---- answers ---- */

static void answer_forbidden(struct http_request *request)
{
    http_answer_error(request, 403, "ForbiddenException", "Forbidden");
}

static void answer_gone(struct http_request *request)
{
    request->error_type = "GoneException";
    buf_clear(&request->answer);
    http_answer(request, 410);
}

static void answer_invalid_id(struct http_request *request, const char *id)
{
    struct buf text;

    buf_init(&text, SIZE_MAX);
    buf_addf(&text, "Invalid connectionId: %s", id);
    http_answer_error(request, 400, "BadRequestException", buf_str(&text));
    buf_done(&text);
}

static void answer_found(struct http_request *request, const struct rows *rows, int status)
{
    if (rows_count(rows) == 0 || !rows_bool(rows, 0, 0)) {
        answer_gone(request);
        return;
    }
    follower_wake(request->env->follower);
    http_answer(request, status);
}

/* ---- POST ---- */

static void on_posted(struct http_request *request, const struct rows *rows)
{
    answer_found(request, rows, 200);
}

/* As UTF-8 without NUL, which PostgreSQL's text cannot hold: U+FFFD stands in its place as well. */
static void add_for_sql(struct buf *out, const struct buf *body)
{
    const char *at = body->data;
    const char *end = body->data + body->len;
    const char *nul;

    while (at < end && (nul = memchr(at, '\0', (size_t)(end - at)))) {
        buf_add_utf8(out, at, (size_t)(nul - at));
        buf_adds(out, "\xEF\xBF\xBD");
        at = nul + 1;
    }
    if (at < end)
        buf_add_utf8(out, at, (size_t)(end - at));
}

/* A post is activity of the connection; its row is what the other nodes answer a GET from. */
static void post_elsewhere(struct http_request *request)
{
    struct buf text;
    const char *params[] = {request->id, NULL};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "post_to_connection",
        .sql = "select case when switchboard.post_to_connection($1, $2)"
               " then switchboard.touch_connections(array[$1], array[switchboard.now_ms()]) >= 0"
               " else false end",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    buf_init(&text, request->body.limit * 3);
    add_for_sql(&text, &request->body);
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

    buf_init(&text, request->body.limit * 3);
    buf_add_utf8(&text, request->body.data, request->body.len);
    delivery.payload = buf_str(&text);
    delivery.payload_len = text.len;
    if (deliver(&context, connection, &delivery) == 0) {
        http_answer_error(request, 429, "LimitExceededException",
                          "The client does not read fast enough");
    } else {
        if (request->env->gateway)
            gateway_touch(request->env->gateway, connection);
        http_answer(request, 200);
    }
    buf_done(&text);
}

static void post_connection(struct http_request *request)
{
    struct connection *connection = connection_find(request->env->connections, request->id);

    request->env->metrics->posts++;
    if (connection && connection->state == CONNECTION_OPEN)
        post_here(request, connection);
    else if (connection || !request->env->store)
        answer_gone(request);
    else
        post_elsewhere(request);
}

/* ---- GET ---- */

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

    if (!connection && request->env->store) {
        get_elsewhere(request);
        return;
    }
    if (!connection || connection->state != CONNECTION_OPEN) {
        answer_gone(request);
        return;
    }
    info.source_ip = connection->source_ip;
    info.user_agent = connection->user_agent;
    info.connected_at_ms = connection->connected_at_ms;
    info.last_active_ms = connection->last_activity_ms;
    answer_info(request, &info);
}

/* ---- DELETE ---- */

static void on_deleted(struct http_request *request, const struct rows *rows)
{
    answer_found(request, rows, 204);
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

    if (connection && connection->state == CONNECTION_OPEN) {
        connection_close(connection, 1000, "Connection Closed Normally");
        http_answer(request, 204);
    } else if (connection || !request->env->store) {
        answer_gone(request);
    } else {
        delete_elsewhere(request);
    }
}

/* ---- routing ---- */

static void name_route(struct http_request *request)
{
    static const struct {
        const char *method;
        const char *route_key;
    } table[] = {
        {"POST", "POST /@connections/{connectionId}"},
        {"GET", "GET /@connections/{connectionId}"},
        {"DELETE", "DELETE /@connections/{connectionId}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].method, request->method) == 0)
            request->route_key = table[i].route_key;
}

static void run_connection(struct http_request *request, const char *id)
{
    static const struct methods methods = {get_connection, post_connection, delete_connection,
                                           "GET, POST, DELETE"};

    name_route(request);
    if (!id_is_wellformed(id)) {
        answer_invalid_id(request, id);
        return;
    }
    snprintf(request->id, sizeof(request->id), "%s", id);
    if (is_authentic(request) && is_permitted(request) && is_within_rate(request))
        http_run_method(request, &methods);
}

static void run_send(struct http_request *request)
{
    static const struct methods methods = {NULL, send_post, NULL, "POST"};

    if (is_authentic(request) && is_permitted(request) && is_within_rate(request))
        http_run_method(request, &methods);
}

/* "@connections" or "@send" stands behind the stage, or in front where there is none. */
static void run(struct http_request *request, const char *const *segments, size_t count)
{
    bool is_connection = request_path_look(request->path) == REQUEST_PATH_CONNECTIONS;
    const char *name = is_connection ? "@connections" : "@send";
    size_t at = strcmp(segments[0], name) == 0 ? 0 : 1;

    if (!is_stage(request, at ? segments[0] : NULL) || count != at + (is_connection ? 2 : 1))
        answer_forbidden(request);
    else if (is_connection)
        run_connection(request, segments[at + 1]);
    else
        run_send(request);
}

/* A body that is too large is told before anything else, and in the fewest words. */
void management_route(struct http_request *request, const char *const *segments, size_t count)
{
    if (buf_full(&request->body)) {
        request->content_type = NULL;
        http_answer(request, 413);
        return;
    }
    request->is_management = true;
    if (count == 0)
        answer_forbidden(request);
    else
        run(request, segments, count);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_send.c - POST @send: what the management API of API Gateway lacks.
 *
 *   {"to": {"connections": [...]} | {"user": "..."} | {"topic": "..."} | "all", "message": ...}
 *   {"messages": [{"to": ..., "message": ...}, ...]}
 *
 * With a database all of a request is one transaction there, and so is remembering its key: it is
 * sent once or not at all.  Without one, the connections of this process are all there are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "delivery.h"
#include "follower.h"
#include "http_internal.h"
#include "idempotency.h"
#include "json.h"
#include "metrics.h"

enum {
    MAX_MESSAGES = 100,
    MAX_CONNECTIONS = 1000, /* of a request, all its messages together */
    MAX_KEY_BYTES = 255,
    FRAME_HEAD_BYTES = 10,
    REFUSED_BYTES = 65536,
    PLACE_BYTES = 32
};

/* ---- what is wrong with a request ---- */

struct check {
    const struct config *config;
    bool has_store;
    bool is_batch;
    size_t number; /* of the message in a batch */
    size_t connections;
    int status;
    struct error err;
};

/* False, with "messages[3]: " in front of the text in a batch. */
static bool object(struct check *check, int status, const char *text)
{
    char place[PLACE_BYTES] = "";

    if (check->is_batch)
        snprintf(place, sizeof(place), "messages[%zu]: ", check->number);
    fail(&check->err, INVALID, "%s%s", place, text);
    check->status = status;
    return false;
}

static bool check_connections(struct check *check, const struct json *ids)
{
    if (json_type(ids) != JSON_ARRAY)
        return object(check, 400, "to.connections must be an array of connection ids");
    check->connections += json_len(ids);
    if (check->connections > MAX_CONNECTIONS)
        return object(check, 400, "a request may name at most 1000 connections");
    for (const struct json *id = json_first(ids); id; id = json_next(id))
        if (json_type(id) != JSON_STRING)
            return object(check, 400, "to.connections must be an array of connection ids");
    return true;
}

static bool check_name(struct check *check, const struct json *name, const char *text)
{
    if (json_type(name) != JSON_STRING || !*json_text(name))
        return object(check, 400, text);
    if (!check->has_store)
        return object(check, 501, "users and topics need a database, and this server has none");
    return true;
}

static bool check_to(struct check *check, const struct json *to)
{
    const struct json *receiver;

    if (to && json_type(to) == JSON_STRING && strcmp(json_text(to), "all") == 0)
        return true;
    if (!to || json_type(to) != JSON_OBJECT || json_len(to) != 1)
        return object(check, 400,
                      "to must be \"all\" or an object with one of connections, user and topic");
    receiver = json_first(to);
    if (strcmp(json_key(receiver), "connections") == 0)
        return check_connections(check, receiver);
    if (strcmp(json_key(receiver), "user") == 0)
        return check_name(check, receiver, "to.user must be a text that is not empty");
    if (strcmp(json_key(receiver), "topic") == 0)
        return check_name(check, receiver, "to.topic must be a text that is not empty");
    return object(check, 400,
                  "to must be \"all\" or an object with one of connections, user and topic");
}

static size_t written_size(const struct json *json)
{
    struct buf text;
    size_t size;

    buf_init(&text, SIZE_MAX); /* the body was bounded */
    json_write(&text, NULL, json);
    size = text.len;
    buf_done(&text);
    return size;
}

static bool check_members(struct check *check, const struct json *message, const char *also)
{
    for (const struct json *member = json_first(message); member; member = json_next(member)) {
        const char *key = json_key(member);

        if (strcmp(key, "to") != 0 && strcmp(key, "message") != 0 && strcmp(key, also) != 0)
            return object(check, 400, "there is a member that means nothing here");
    }
    return true;
}

static bool check_message(struct check *check, const struct json *message, const char *also)
{
    const struct json *payload;

    if (json_type(message) != JSON_OBJECT)
        return object(check, 400, "a message must be an object with to and message");
    if (!check_members(check, message, also) || !check_to(check, json_get(message, "to")))
        return false;
    payload = json_get(message, "message");
    if (!payload)
        return object(check, 400, "there is no member message");
    if (written_size(payload) > (size_t)check->config->max_message_bytes)
        return object(check, 413, "message is larger than max_message_bytes");
    return true;
}

static bool check_batch(struct check *check, const struct json *request)
{
    const struct json *messages = json_get(request, "messages");

    if (json_type(messages) != JSON_ARRAY || json_len(messages) < 1 ||
        json_len(messages) > MAX_MESSAGES)
        return object(check, 400, "messages must be an array of 1 to 100 messages");
    if (json_len(request) != 1 + (json_get(request, "idempotencyKey") ? 1U : 0U))
        return object(check, 400, "beside messages there may only be idempotencyKey");
    check->is_batch = true;
    for (const struct json *m = json_first(messages); m; m = json_next(m), check->number++)
        if (!check_message(check, m, "message"))
            return false;
    return true;
}

/* In the header or in the request; *out stays NULL when in neither. */
static bool take_key(struct http_request *request, const struct json *json, struct check *check)
{
    const char *header = http_header(request, "Idempotency-Key");
    const struct json *member = json_get(json, "idempotencyKey");
    const char *key = member ? json_text(member) : header;

    check->is_batch = false;
    if (!member && !header)
        return true;
    if (!key || !*key || strlen(key) > MAX_KEY_BYTES || !utf8_is_valid(key, strlen(key)))
        return object(check, 400, "an idempotency key has 1 to 255 bytes of UTF-8");
    if (header && strcmp(key, header) != 0)
        return object(check, 400, "the idempotency keys of the header and the request differ");
    request->idempotency_key = mem_strdup(key);
    return true;
}

static bool check_request(struct http_request *request, const struct json *json,
                          struct check *check)
{
    bool is_good;

    if (json_type(json) != JSON_OBJECT)
        return object(check, 400, "the request must be a JSON object");
    is_good = json_get(json, "messages") ? check_batch(check, json)
                                         : check_message(check, json, "idempotencyKey");
    return is_good && take_key(request, json, check);
}

/* ---- connections ---- */

/* Before it is tried: 400 for what is no id, 429 when the client's queue has no room for it; 200
 * when nothing speaks against it. */
static int foresee(const struct http_request *request, const char *id, size_t size)
{
    const struct connection *connection;

    if (!id_is_wellformed(id))
        return 400;
    connection = connection_find(request->env->connections, id);
    if (connection && connection->state == CONNECTION_OPEN &&
        connection_unsent(connection) + size + FRAME_HEAD_BYTES > connection->out.limit)
        return 429;
    return 200;
}

/* ---- with a database ---- */

static void add_refused(const struct http_request *request, const struct json *message,
                        struct buf *out)
{
    const struct json *ids = json_get(json_get(message, "to"), "connections");
    size_t size;

    if (!ids)
        return;
    size = written_size(json_get(message, "message"));
    for (const struct json *id = json_first(ids); id; id = json_next(id)) {
        int status = foresee(request, json_text(id), size);

        if (status != 200)
            json_int(out, json_text(id), status);
    }
}

static void on_sent(struct http_request *request, const struct rows *rows)
{
    follower_wake(request->env->follower); /* also for nobody: one may be connecting right now */
    if (rows_int(rows, 0, 0) != 200) {
        http_answer_error(request, 422, "IdempotencyKeyException",
                          "The idempotency key was used for another request");
        return;
    }
    buf_add(&request->answer, rows_text(rows, 0, 1), rows_len(rows, 0, 1));
    http_answer(request, 200);
}

static void send_through_database(struct http_request *request, const struct json *json)
{
    const struct json *messages = json_get(json, "messages");
    const char *params[] = {buf_str(&request->body), NULL, request->idempotency_key};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "send_request",
        .sql = "select status, answer from switchboard.send_request($1::jsonb, $2::jsonb, $3)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };
    struct buf refused;

    buf_init(&refused, SIZE_MAX); /* at most a thousand ids of a bounded request */
    json_open(&refused, NULL, '{');
    if (!messages)
        add_refused(request, json, &refused);
    for (const struct json *m = messages ? json_first(messages) : NULL; m; m = json_next(m))
        add_refused(request, m, &refused);
    json_close(&refused, '}');
    params[1] = buf_str(&refused);
    http_query(request, &query, on_sent);
    buf_done(&refused);
}

/* ---- without a database ---- */

static int send_to_connection(struct http_request *request, const char *id,
                              const struct delivery_context *context, const struct buf *text)
{
    struct connection *connection = connection_find(request->env->connections, id);
    struct delivery delivery = {
        .kind = DELIVERY_CONNECTION, .target = id, .payload = text->data, .payload_len = text->len};
    int status = foresee(request, id, text->len);

    if (status != 200)
        return status;
    if (!connection || connection->state != CONNECTION_OPEN)
        return 410;
    return deliver(context, NULL, &delivery) ? 200 : 429;
}

static void send_here(struct http_request *request, const char *key, const struct json *message)
{
    const struct delivery_context context = {request->env->connections, request->env->metrics};
    const struct json *to = json_get(message, "to");
    const struct json *ids = json_type(to) == JSON_OBJECT ? json_get(to, "connections") : NULL;
    struct delivery all = {.kind = DELIVERY_ALL};
    struct buf *out = &request->answer;
    struct buf text;

    buf_init(&text, SIZE_MAX); /* checked against max_message_bytes */
    json_write(&text, NULL, json_get(message, "message"));
    json_open(out, key, '{');
    if (ids) {
        json_open(out, "results", '[');
        for (const struct json *id = json_first(ids); id; id = json_next(id)) {
            json_open(out, NULL, '{');
            json_str(out, "connectionId", json_text(id));
            json_int(out, "status", send_to_connection(request, json_text(id), &context, &text));
            json_close(out, '}');
        }
        json_close(out, ']');
    } else {
        all.payload = buf_str(&text);
        all.payload_len = text.len;
        (void)deliver(&context, NULL, &all);
        json_bool(out, "published", true);
    }
    json_close(out, '}');
    buf_done(&text);
}

static void send_all_here(struct http_request *request, const struct json *json)
{
    const struct json *messages = json_get(json, "messages");
    struct buf *out = &request->answer;

    if (!messages) {
        send_here(request, NULL, json);
        return;
    }
    json_open(out, NULL, '{');
    json_open(out, "results", '[');
    for (const struct json *m = json_first(messages); m; m = json_next(m))
        send_here(request, NULL, m);
    json_close(out, ']');
    json_close(out, '}');
}

static void send_once_here(struct http_request *request, const struct json *json)
{
    struct idempotency_request asked = {
        .key = request->idempotency_key,
        .request = request->body.data,
        .len = request->body.len,
        .now_ms = request->started_ms,
    };
    const char *answer = NULL;

    switch (idempotency_find(request->idempotency, &asked, &answer)) {
    case IDEMPOTENCY_NEW:
        send_all_here(request, json);
        idempotency_put(request->idempotency, &asked, buf_str(&request->answer));
        break;
    case IDEMPOTENCY_SAME:
        buf_adds(&request->answer, answer);
        break;
    case IDEMPOTENCY_OTHER:
        http_answer_error(request, 422, "IdempotencyKeyException",
                          "The idempotency key was used for another request");
        return;
    }
    http_answer(request, 200);
}

static void send_without_database(struct http_request *request, const struct json *json)
{
    if (request->idempotency_key) {
        send_once_here(request, json);
        return;
    }
    send_all_here(request, json);
    http_answer(request, 200);
}

/* ---- the request ---- */

static const char *error_type(int status)
{
    return status == 413   ? "PayloadTooLargeException"
           : status == 501 ? "NotImplementedException"
                           : "BadRequestException";
}

void send_post(struct http_request *request)
{
    struct check check = {.config = request->env->config, .has_store = request->env->store != NULL};
    struct json *json = NULL;

    if (json_parse(buf_str(&request->body), request->body.len, &json, &check.err) != OK)
        http_answer_error(request, 400, "BadRequestException", "The body must be JSON");
    else if (!check_request(request, json, &check))
        http_answer_error(request, check.status, error_type(check.status), check.err.text);
    else if (request->env->store)
        send_through_database(request, json);
    else
        send_without_database(request, json);
    json_free(json);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "backend.h"
#include "config.h"
#include "connections.h"
#include "gateway_clock.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "route.h"

enum {
    ROUTE_KEY_BYTES = 127, /* PostgreSQL compares 63; the rest only makes a clear miss */
    ERROR_FRAME_BYTES = 512,
    CLAIMS_BYTES = 64 * 1024
};

struct gateway {
    struct gateway_env env;
    struct route_expression *selection;
    struct gateway_clock *clock;
    bool is_accepting;
    struct connection *ended; /* to be freed at the end of the turn, linked by ended_next */
    struct deferred deferred;
};

/* ---- ending ---- */

static void free_ended(void *ctx)
{
    struct gateway *gateway = ctx;

    while (gateway->ended) {
        struct connection *connection = gateway->ended;

        gateway->ended = connection->ended_next;
        connection_free(gateway->env.connections, connection);
    }
}

/* Whoever is on the stack may still hold the connection: it goes at the end of the turn. */
static void end_connection(struct gateway *gateway, struct connection *connection)
{
    gateway_clock_remove(gateway->clock, connection);
    connection->ended_next = gateway->ended;
    gateway->ended = connection;
    loop_at_end_of_turn(gateway->env.loop, &gateway->deferred);
}

/* $disconnect comes after every message of the connection has been answered. */
static void end_when_answered(struct gateway *gateway, struct connection *connection)
{
    char request_id[REQUEST_ID_BYTES];

    if (connection->state != CONNECTION_CLOSED || connection->in_flight > 0)
        return;
    id_mint_request(request_id);
    backend_disconnect(gateway->env.backend, connection, request_id);
    gateway->env.metrics->disconnects++;
    log_debug("connection.end", "connection=%s code=%d reason=%s", connection_tag(connection),
              connection->close_code, log_quote(connection->close_reason));
    end_connection(gateway, connection);
}

/* ---- handshake ---- */

struct handshake {
    struct gateway *gateway;
    struct connection *connection;
    char request_id[REQUEST_ID_BYTES];
    gateway_response_fn *done;
    void *ctx;
};

static const char *message_for(int status)
{
    switch (status) {
    case 403:
        return "Forbidden";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Endpoint request timed out";
    default:
        return "Internal server error";
    }
}

static void respond_early(int status, gateway_response_fn *done, void *ctx)
{
    struct gateway_response response = {.status = status};
    struct buf body;

    buf_init(&body, ERROR_FRAME_BYTES);
    json_open(&body, NULL, '{');
    json_str(&body, "message", message_for(status));
    json_close(&body, '}');
    response.body = buf_str(&body);
    done(ctx, &response);
    buf_done(&body);
}

static void reject(struct handshake *handshake, int status, const char *body)
{
    struct connection *connection = handshake->connection;
    struct gateway_response response = {.status = status, .request_id = handshake->request_id};
    struct buf made;

    buf_init(&made, ERROR_FRAME_BYTES);
    if (!body) {
        event_write_error(&made, message_for(status), connection->id, handshake->request_id);
        body = buf_str(&made);
    }
    response.body = body;
    connection_set_state(connection, CONNECTION_CLOSED);
    handshake->done(handshake->ctx, &response);
    buf_done(&made);
    end_connection(handshake->gateway, connection);
}

static void count_outcome(struct metrics *metrics, int status)
{
    metrics->pending_handshakes--;
    if (status == 200)
        metrics->connects_accepted++;
    else if (status >= 500)
        metrics->connects_failed++;
    else
        metrics->connects_refused++;
}

static void on_connected(void *ctx, int status, const char *body, const char *subprotocol)
{
    struct handshake *handshake = ctx;
    struct gateway_response response = {
        .status = 101,
        .request_id = handshake->request_id,
        .subprotocol = subprotocol,
        .connection = handshake->connection,
    };

    count_outcome(handshake->gateway->env.metrics, status);
    log_debug("connection.connect", "connection=%s id=%s request=%s status=%d",
              connection_tag(handshake->connection), handshake->connection->id,
              handshake->request_id, status);
    if (status == 200)
        handshake->done(handshake->ctx, &response);
    else
        reject(handshake, status, body);
    free(handshake);
}

/* "/{stage}" and nothing behind it but perhaps a slash. */
static bool is_stage_path(const struct gateway *gateway, struct slice path)
{
    const char *stage = gateway->env.config->stage;
    size_t len = strlen(stage);

    if (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    return path.len == len + 1 && path.data[0] == '/' && memcmp(path.data + 1, stage, len) == 0;
}

static char *dup_header(const struct http_head *head, const char *name)
{
    const struct http_header *header = http_head_find(head, name);

    return header && utf8_is_valid(header->value.data, header->value.len) ? slice_dup(header->value)
                                                                          : NULL;
}

static struct connection *open_connection(struct gateway *gateway, const struct http_head *head,
                                          const char *peer_ip)
{
    const struct config *config = gateway->env.config;
    struct connection *connection = connection_create(gateway->env.connections);

    connection->source_ip = mem_strdup(peer_ip);
    connection->user_agent = dup_header(head, "User-Agent");
    connection->domain_name =
        *config->domain_name ? mem_strdup(config->domain_name) : dup_header(head, "Host");
    if (!connection->domain_name)
        connection->domain_name = mem_strdup("localhost");
    return connection;
}

static void start_connect(struct gateway *gateway, struct handshake *handshake,
                          const struct http_head *head)
{
    const struct config *config = gateway->env.config;
    const struct connection *connection = handshake->connection;
    struct event_context context = {
        .connection_id = connection->id,
        .stage = config->stage,
        .domain_name = connection->domain_name,
        .api_id = config->api_id,
        .source_ip = connection->source_ip,
        .user_agent = connection->user_agent,
        .connected_at_ms = connection->connected_at_ms,
    };
    struct buf event;

    buf_init(&event, SIZE_MAX); /* a few times max_head_bytes at most */
    event_write_connect(&event, &context, head, handshake->request_id, connection->connected_at_ms,
                        (int)config->port);
    backend_connect(gateway->env.backend, handshake->connection, event.data, event.len,
                    on_connected, handshake);
    buf_done(&event);
}

void gateway_handshake(struct gateway *gateway, const struct http_head *head, const char *peer_ip,
                       gateway_response_fn *done, void *ctx)
{
    struct metrics *metrics = gateway->env.metrics;
    struct handshake *handshake;

    metrics->connects++;
    if (!is_stage_path(gateway, head->path)) {
        metrics->connects_malformed++;
        respond_early(403, done, ctx);
        return;
    }
    if (!gateway->is_accepting || connections_count(gateway->env.connections) >=
                                      (size_t)gateway->env.config->max_connections) {
        metrics->connects_failed++;
        respond_early(503, done, ctx);
        return;
    }
    handshake = mem_alloc(sizeof(*handshake));
    handshake->gateway = gateway;
    handshake->connection = open_connection(gateway, head, peer_ip);
    handshake->done = done;
    handshake->ctx = ctx;
    id_mint_request(handshake->request_id);
    metrics->pending_handshakes++;
    start_connect(gateway, handshake, head);
}

void gateway_abandon(struct gateway *gateway, struct connection *connection)
{
    connection_set_state(connection, CONNECTION_CLOSED);
    connection->close_code = 1006;
    snprintf(connection->close_reason, sizeof(connection->close_reason),
             "Gone before the handshake was answered");
    end_when_answered(gateway, connection);
}

/* ---- messages ---- */

struct message {
    struct gateway *gateway;
    struct connection *connection;
    char request_id[REQUEST_ID_BYTES];
};

static void send_error_frame(struct gateway *gateway, struct connection *connection,
                             const char *message, const char *request_id)
{
    struct buf frame;

    buf_init(&frame, ERROR_FRAME_BYTES);
    event_write_error(&frame, message, connection->id, request_id);
    if (connection_send(connection, frame.data, frame.len) == OK)
        gateway->env.metrics->messages_out++;
    buf_done(&frame);
}

static void pause_or_go_on(struct gateway *gateway, struct connection *connection)
{
    uint32_t most = (uint32_t)gateway->env.config->max_pending_messages;
    bool is_over =
        connection->is_paused ? connection->in_flight > most / 2 : connection->in_flight >= most;

    if (is_over == connection->is_paused || connection->state == CONNECTION_CLOSED)
        return;
    connection->is_paused = is_over;
    connection->socket_ops->on_flow(connection, !is_over);
}

static void on_answered(void *ctx, enum backend_result result)
{
    struct message *message = ctx;
    struct gateway *gateway = message->gateway;
    struct connection *connection = message->connection;

    switch (result) {
    case BACKEND_OK:
        break;
    case BACKEND_FORBIDDEN:
        gateway->env.metrics->forbidden++;
        send_error_frame(gateway, connection, "Forbidden", message->request_id);
        break;
    case BACKEND_ERROR:
        send_error_frame(gateway, connection, "Internal server error", message->request_id);
        break;
    case BACKEND_TIMEOUT:
        send_error_frame(gateway, connection, "Endpoint request timed out", message->request_id);
        break;
    }
    free(message);
    pause_or_go_on(gateway, connection);
    end_when_answered(gateway, connection);
}

/* The claims of the token in the body's "token" member, when there is one and it is good. */
static bool verify_token(struct gateway *gateway, const char *text, size_t len, struct buf *claims)
{
    struct json *json = NULL;
    struct error err = {0};
    const char *token = NULL;
    bool is_good = false;

    if (!memmem(text, len, "\"token\"", 7) || json_parse(text, len, &json, NULL) != OK)
        return false;
    if (json_type(json) == JSON_OBJECT && json_opt_str(json, "token", &token, NULL) == OK && token)
        is_good = auth_verify(gateway->env.auth, token, clock_unix_ms() / 1000, claims, &err) == OK;
    if (token && !is_good)
        log_debug("token.refused", "error=%s", log_quote(err.text));
    json_free(json);
    return is_good;
}

static void hand_over(struct gateway *gateway, struct message *message, const char *text,
                      size_t len)
{
    struct backend_message event = {
        .connection = message->connection,
        .request_id = message->request_id,
        .body = text,
        .body_len = len,
    };
    char message_id[CONNECTION_ID_BYTES];
    struct buf key, claims;

    buf_init(&key, ROUTE_KEY_BYTES);
    buf_init(&claims, CLAIMS_BYTES);
    route_select(gateway->selection, text, len, &key);
    id_mint_message(message->connection->id, message_id);
    event.route_key = buf_str(&key);
    event.message_id = message_id;
    if (verify_token(gateway, text, len, &claims))
        event.token = buf_str(&claims);
    backend_message(gateway->env.backend, &event, on_answered, message);
    buf_done(&key);
    buf_done(&claims);
}

void gateway_message(struct gateway *gateway, struct connection *connection, const char *text,
                     size_t len)
{
    struct message *message;

    if (connection->state != CONNECTION_OPEN)
        return;
    gateway->env.metrics->messages_in++;
    gateway->env.metrics->bytes_in += len;
    gateway_clock_touch(gateway->clock, connection);
    message = mem_alloc(sizeof(*message));
    message->gateway = gateway;
    message->connection = connection;
    id_mint_request(message->request_id);
    /* PostgreSQL's text cannot hold a NUL, and cutting the message there would change it. */
    if (memchr(text, '\0', len)) {
        send_error_frame(gateway, connection, "Bad request body", message->request_id);
        free(message);
        return;
    }
    hand_over(gateway, message, text, len);
    pause_or_go_on(gateway, connection);
}

/* ---- socket ---- */

void gateway_opened(struct gateway *gateway, struct connection *connection)
{
    connection_set_state(connection, CONNECTION_OPEN);
    if (connection->has_close)
        connection_set_state(connection, CONNECTION_CLOSING);
    gateway->env.metrics->open_connections++;
    gateway_clock_add(gateway->clock, connection);
}

void gateway_seen(struct gateway *gateway, struct connection *connection)
{
    (void)gateway;
    connection->last_seen_mono_ms = clock_mono_ms();
}

void gateway_peer_close(struct gateway *gateway, struct connection *connection, int code,
                        const char *reason)
{
    (void)gateway;
    if (connection->state >= CONNECTION_CLOSING)
        return; /* the answer to our close frame */
    connection_set_state(connection, CONNECTION_CLOSING);
    connection->close_code = code;
    snprintf(connection->close_reason, sizeof(connection->close_reason), "%s", reason);
}

void gateway_closed(struct gateway *gateway, struct connection *connection)
{
    if (connection->state != CONNECTION_OPENING)
        gateway->env.metrics->open_connections--;
    connection_set_state(connection, CONNECTION_CLOSED);
    if (connection->close_code == 0) {
        connection->close_code = 1006;
        snprintf(connection->close_reason, sizeof(connection->close_reason),
                 "Connection closed abnormally");
    }
    gateway_clock_remove(gateway->clock, connection);
    end_when_answered(gateway, connection);
}

/* ---- life ---- */

/* The shipped profiles' own route selection; a user's schema alone has API Gateway's usual one. */
static const char *selection_of(const struct config *config)
{
    return *config->route_selection_expression ? config->route_selection_expression
                                               : "$request.body.action";
}

struct gateway *gateway_create(const struct gateway_env *env, struct error *err)
{
    struct gateway *gateway = mem_alloc(sizeof(*gateway));

    gateway->env = *env;
    if (route_compile(selection_of(env->config), &gateway->selection, err) != OK) {
        fail_context(err, "route_selection_expression");
        free(gateway);
        return NULL;
    }
    gateway->clock = gateway_clock_create(env->loop, env->config, env->backend);
    gateway->deferred.fn = free_ended;
    gateway->deferred.ctx = gateway;
    return gateway;
}

void gateway_free(struct gateway *gateway)
{
    loop_undefer(gateway->env.loop, &gateway->deferred);
    free_ended(gateway);
    gateway_clock_free(gateway->clock);
    route_free(gateway->selection);
    free(gateway);
}

void gateway_set_accepting(struct gateway *gateway, bool is_accepting)
{
    gateway->is_accepting = is_accepting;
}

void gateway_close_all(struct gateway *gateway)
{
    struct connection *next;

    for (struct connection *c = connections_first(gateway->env.connections); c; c = next) {
        next = connections_next(c);
        connection_close(c, 1012, "Service restart");
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "backend.h"
#include "config.h"
#include "connections.h"
#include "gateway_clock.h"
#include "gateway_limits.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"
#include "replay.h"
#include "route.h"

enum { ROUTE_KEY_BYTES = 127 }; /* PostgreSQL compares 63; the rest only makes a clear miss */

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
void gateway_end_connection(struct gateway *gateway, struct connection *connection)
{
    gateway_clock_remove(gateway->clock, connection);
    replay_stop(connection);
    connection->ended_next = gateway->ended;
    gateway->ended = connection;
    loop_at_end_of_turn(gateway->env.loop, &gateway->deferred);
}

/* $disconnect comes after every message of the connection has been answered. */
void gateway_end_when_answered(struct gateway *gateway, struct connection *connection)
{
    char request_id[REQUEST_ID_BYTES];

    if (connection->state != CONNECTION_CLOSED ||
        connection->in_flight + connection->held_count > 0)
        return;
    id_mint_request(request_id);
    backend_disconnect(gateway->env.backend, connection, request_id);
    gateway->env.metrics->disconnects++;
    log_debug("connection.end", "connection=%s code=%d reason=%s", connection_tag(connection),
              connection->close_code, log_quote(connection->close_reason));
    gateway_end_connection(gateway, connection);
}

/* ---- messages ---- */

struct message {
    struct gateway *gateway;
    struct connection *connection;
    char request_id[REQUEST_ID_BYTES];
    bool is_refused; /* past a limit: only $error runs */
    /* while it is held: */
    char *text;
    size_t len;
    struct jwks_waiter waiter; /* of the first one */
    struct message *held_next;
};

static void message_free(struct message *message)
{
    free(message->text);
    free(message);
}

static void send_error_frame(struct gateway *gateway, struct connection *connection,
                             const char *message, const char *request_id)
{
    struct buf frame;

    buf_init(&frame, GATEWAY_FRAME_BYTES);
    event_write_error(&frame, message, connection->id, request_id);
    if (connection_send(connection, frame.data, frame.len) == OK)
        gateway->env.metrics->messages_out++;
    buf_done(&frame);
}

static void pause_or_go_on(struct gateway *gateway, struct connection *connection)
{
    uint32_t most = (uint32_t)gateway->env.config->max_pending_messages;
    uint32_t count = connection->in_flight + connection->held_count;
    bool is_over = connection->is_paused ? count > most / 2 : count >= most;

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
        send_error_frame(gateway, connection,
                         message->is_refused ? "Too Many Requests" : "Internal server error",
                         message->request_id);
        break;
    case BACKEND_TIMEOUT:
        send_error_frame(gateway, connection, "Endpoint request timed out", message->request_id);
        break;
    }
    message_free(message);
    pause_or_go_on(gateway, connection);
    gateway_end_when_answered(gateway, connection);
}

/* The claims of the token in the body's "token" member, when there is one and it is good: OK.
 * UNAVAILABLE: its key is being fetched. */
static enum status verify_token(struct gateway *gateway, const char *text, size_t len,
                                struct buf *claims)
{
    struct json *json = NULL;
    struct error err = {0};
    const char *token = NULL;
    enum status st = DENIED;

    if (!memmem(text, len, "\"token\"", 7) || json_parse(text, len, &json, NULL) != OK)
        return DENIED;
    if (json_type(json) == JSON_OBJECT && json_opt_str(json, "token", &token, NULL) == OK && token)
        st = auth_verify(gateway->env.auth, token, clock_unix_ms() / 1000, claims, &err);
    if (token && st == DENIED)
        log_debug("token.refused", "error=%s", log_quote(err.text));
    json_free(json);
    return st;
}

/* $error gets the seconds to wait as its text. */
static void run_or_refuse(struct gateway *gateway, struct message *message,
                          const struct backend_message *event)
{
    int64_t wait_s = gateway_limits_take(gateway->limits, event->connection, event->route_key);
    char seconds[24];
    struct backend_refusal refusal = {.code = "SB429", .text = seconds};

    if (wait_s == 0) {
        backend_message(gateway->env.backend, event, on_answered, message);
        return;
    }
    gateway->env.metrics->throttled++;
    message->is_refused = true;
    snprintf(seconds, sizeof(seconds), "%lld", (long long)wait_s);
    backend_refuse(gateway->env.backend, event, &refusal, on_answered, message);
}

/* False when it has to wait for the key of its token. */
static bool hand_over(struct gateway *gateway, struct message *message, const char *text,
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
    enum status st;

    buf_init(&claims, GATEWAY_CLAIMS_BYTES);
    st = verify_token(gateway, text, len, &claims);
    if (st == UNAVAILABLE) {
        buf_done(&claims);
        return false;
    }
    buf_init(&key, ROUTE_KEY_BYTES);
    route_select(gateway->selection, text, len, &key);
    id_mint_message(message->connection->id, message_id);
    event.route_key = buf_str(&key);
    event.message_id = message_id;
    if (st == OK)
        event.token = buf_str(&claims);
    run_or_refuse(gateway, message, &event);
    buf_done(&key);
    buf_done(&claims);
    return true;
}

/* ---- messages that wait for the key of a token ---- */

static void on_message_keys(void *ctx);

/* Those behind it wait too: events of a connection run in order. */
static void hold_message(struct message *message, const char *text, size_t len)
{
    struct connection *connection = message->connection;
    struct message **link = &connection->held;

    while (*link)
        link = &(*link)->held_next;
    *link = message;
    connection->held_count++;
    message->text = mem_strndup(text, len);
    message->len = len;
    message->waiter = (struct jwks_waiter){.fn = on_message_keys, .ctx = message};
    if (connection->held == message)
        auth_wait(message->gateway->env.auth, &message->waiter);
}

static void on_message_keys(void *ctx)
{
    struct message *message = ctx;
    struct gateway *gateway = message->gateway;
    struct connection *connection = message->connection;

    while (connection->held) {
        message = connection->held;
        connection->held = message->held_next;
        connection->held_count--;
        if (!hand_over(gateway, message, message->text, message->len)) {
            message->held_next = connection->held;
            connection->held = message;
            connection->held_count++;
            auth_wait(gateway->env.auth, &message->waiter);
            break;
        }
    }
    pause_or_go_on(gateway, connection);
}

static void free_held_messages(struct connection *connection)
{
    while (connection->held) {
        struct message *message = connection->held;

        connection->held = message->held_next;
        jwks_source_unwait(&message->waiter);
        message_free(message);
    }
    connection->held_count = 0;
}

/* What the gateway says itself, or NULL.  PostgreSQL's text cannot hold a NUL, and cutting the
 * message there would change it. */
static const char *refusal_of(struct gateway *gateway, const char *text, size_t len)
{
    if (!gateway_limits_take_stage(gateway->limits)) {
        gateway->env.metrics->throttled++;
        return "Too Many Requests";
    }
    return memchr(text, '\0', len) ? "Bad request body" : NULL;
}

void gateway_message(struct gateway *gateway, struct connection *connection, const char *text,
                     size_t len)
{
    struct message *message;
    const char *refusal;

    if (connection->state != CONNECTION_OPEN)
        return;
    gateway->env.metrics->messages_in++;
    gateway->env.metrics->bytes_in += len;
    gateway_clock_touch(gateway->clock, connection);
    message = mem_alloc(sizeof(*message));
    message->gateway = gateway;
    message->connection = connection;
    id_mint_request(message->request_id);
    refusal = refusal_of(gateway, text, len);
    if (refusal) {
        send_error_frame(gateway, connection, refusal, message->request_id);
        message_free(message);
        return;
    }
    if (connection->held || !hand_over(gateway, message, text, len))
        hold_message(message, text, len);
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
    /* Where activity renews the row, answering our pings is activity. */
    if (gateway->env.settings->renew_ttl)
        gateway_clock_touch(gateway->clock, connection);
    else
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
    replay_stop(connection);
    gateway_end_when_answered(gateway, connection);
}

/* ---- life ---- */

static enum status apply_settings(struct gateway *gateway, struct error *err)
{
    const struct profile_settings *settings = gateway->env.settings;
    struct route_expression *selection = NULL;

    if (route_compile(settings->route_selection_expression, &selection, err) != OK)
        return fail_context(err, "route_selection_expression");
    if (gateway_limits_set(gateway->limits, settings, err) != OK) {
        route_free(selection);
        return err->status;
    }
    route_free(gateway->selection);
    gateway->selection = selection;
    return OK;
}

void gateway_apply_settings(struct gateway *gateway)
{
    struct error err = {0};

    if (apply_settings(gateway, &err) != OK)
        log_error("gateway.settings_refused", "error=%s next=%s", log_quote(err.text),
                  log_quote("keeping the settings of before"));
}

struct gateway *gateway_create(const struct gateway_env *env, struct error *err)
{
    struct gateway *gateway = mem_alloc(sizeof(*gateway));

    gateway->env = *env;
    gateway->limits = gateway_limits_create();
    if (apply_settings(gateway, err) != OK) {
        gateway_limits_free(gateway->limits);
        free(gateway);
        return NULL;
    }
    gateway->clock = gateway_clock_create(env->loop, env->config, env->settings, env->backend);
    gateway->deferred.fn = free_ended;
    gateway->deferred.ctx = gateway;
    return gateway;
}

void gateway_free(struct gateway *gateway)
{
    struct connection *c;

    loop_undefer(gateway->env.loop, &gateway->deferred);
    free_ended(gateway);
    gateway_free_held(gateway);
    for (c = connections_first(gateway->env.connections); c; c = connections_next(c))
        free_held_messages(c);
    gateway_clock_free(gateway->clock);
    gateway_limits_free(gateway->limits);
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

    gateway_turn_away_held(gateway);
    for (struct connection *c = connections_first(gateway->env.connections); c; c = next) {
        next = connections_next(c);
        connection_close(c, 1012, "Service restart");
    }
}

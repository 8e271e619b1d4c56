/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_message.c - from a message to its event, and from the answer to a frame.
 *
 * A message goes to the route that its key selects: without an API description always to SQL,
 * else to the integration of that route.
 */
#include "gateway_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "config.h"
#include "connections.h"
#include "gateway_clock.h"
#include "gateway_limits.h"
#include "integration.h"
#include "log.h"
#include "metrics.h"
#include "profile.h"
#include "route.h"

enum { ROUTE_KEY_BYTES = 127 }; /* PostgreSQL compares 63; the rest only makes a clear miss */

/* ---- messages ---- */

struct message {
    struct gateway *gateway;
    struct connection *connection;
    struct api_route *route; /* NULL: there is no API description, or no such route in it */
    char *route_key;         /* that the message selected */
    char request_id[REQUEST_ID_BYTES];
    char message_id[CONNECTION_ID_BYTES];
    int64_t received_ms; /* Unix */
    int64_t began_ms;    /* monotonic; when the backend got it */
    bool is_refused;     /* past a limit: only $error runs */
    /* while it is held: */
    char *text;
    size_t len;
    struct jwks_waiter waiter; /* of the first one */
    struct message *held_next;
};

static void message_free(struct message *message)
{
    free(message->route_key);
    free(message->text);
    free(message);
}

/* ---- answers ---- */

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
    uint32_t count = connection->in_flight + connection->held_count + connection->calls;
    bool is_over = connection->is_paused ? count > most / 2 : count >= most;

    if (is_over == connection->is_paused || connection->state == CONNECTION_CLOSED)
        return;
    connection->is_paused = is_over;
    connection->socket_ops->on_flow(connection, !is_over);
}

/* How an event ended: what the log and the metrics say about it, and what the client is told. */
struct ending {
    int status;
    const char *error;         /* of the gateway's own frame; NULL: it was answered */
    const char *response_type; /* $context.error.responseType */
    bool is_response_sent;
    int64_t latency_ms; /* -1: nothing was called */
};

static const struct ending forbidden = {403, "Forbidden", "ACCESS_DENIED", false, -1};
static const struct ending throttled = {429, "Too Many Requests", "THROTTLED", false, -1};
static const struct ending bad_body = {400, "Bad request body", "BAD_REQUEST_BODY", false, -1};

/* Throttled again and again. */
static bool is_abuser(const struct gateway *gateway, const struct connection *connection)
{
    int64_t most = gateway->env.config->throttle_close_after;

    return most > 0 && connection->throttled_count >= most;
}

/* Tells the client, the log and the metrics; the message is gone afterwards. */
static void end_message(struct message *message, const struct ending *ending)
{
    struct gateway *gateway = message->gateway;
    struct connection *connection = message->connection;
    struct gateway_record record = {
        .kind = EVENT_MESSAGE,
        .route_key = message->route ? message->route->key : message->route_key,
        .request_id = message->request_id,
        .message_id = message->message_id,
        .time_ms = message->received_ms,
        .status = ending->status,
        .error_message = ending->error,
        .error_type = ending->response_type,
        .integration = message->route ? message->route->integration : NULL,
        .is_response_sent = ending->is_response_sent,
        .latency_ms = ending->latency_ms,
    };

    if (ending->error)
        send_error_frame(gateway, connection, ending->error, message->request_id);
    if (ending->status == 429 && ending->error && is_abuser(gateway, connection))
        connection_close(connection, 1008, "Too many requests");
    gateway_record(gateway, connection, &record);
    message_free(message);
    pause_or_go_on(gateway, connection);
    gateway_end_when_answered(gateway, connection);
}

static void on_answered(void *ctx, enum backend_result result)
{
    struct message *message = ctx;
    struct ending ending = {.status = 200, .latency_ms = clock_mono_ms() - message->began_ms};

    switch (result) {
    case BACKEND_OK:
        if (message->is_refused)
            ending.status = 429;
        break;
    case BACKEND_FORBIDDEN:
        message->gateway->env.metrics->forbidden++;
        ending = forbidden;
        break;
    case BACKEND_ERROR:
        ending.status = 502;
        ending.error = "Internal server error";
        ending.response_type = "INTEGRATION_FAILURE";
        if (message->is_refused)
            ending = throttled;
        break;
    case BACKEND_TIMEOUT:
        ending.status = 504;
        ending.error = "Endpoint request timed out";
        ending.response_type = "INTEGRATION_TIMEOUT";
        break;
    }
    end_message(message, &ending);
}

/* ---- integrations ---- */

/* A text frame whatever the bytes are; past the limit of a message the connection is closed. */
static bool send_response(struct gateway *gateway, struct connection *connection, const char *body,
                          size_t len)
{
    size_t most = (size_t)gateway->env.config->max_message_bytes;
    bool is_sent;

    if (len > most) {
        connection_close(connection, 1009, "Message too big");
        return false;
    }
    if (utf8_is_valid(body, len)) {
        is_sent = connection_send(connection, body, len) == OK;
    } else {
        struct buf text;

        buf_init(&text, 3 * len + 1);
        buf_add_utf8(&text, body, len);
        is_sent = connection_send(connection, buf_str(&text), text.len) == OK;
        buf_done(&text);
    }
    if (is_sent)
        gateway->env.metrics->messages_out++;
    return is_sent;
}

static void log_integration_failure(const struct message *message,
                                    const struct integration_result *result)
{
    log_warn("integration.failed", "connection=%s request=%s route=%s integration=%s error=%s",
             connection_tag(message->connection), message->request_id,
             log_quote(message->route->key), log_quote(message->route->integration->name),
             log_quote(result->error));
}

static void on_integration(void *ctx, const struct integration_result *result)
{
    struct message *message = ctx;
    struct gateway *gateway = message->gateway;
    struct connection *connection = message->connection;
    struct ending ending = {.status = result->status, .latency_ms = result->latency_ms};

    connection->calls--;
    if (result->outcome == INTEGRATION_ANSWERED) {
        if (message->route->has_response)
            ending.is_response_sent = send_response(
                gateway, connection, result->body ? result->body : "", result->body_len);
    } else {
        bool is_late = result->outcome == INTEGRATION_TIMED_OUT;

        ending.status = integration_status(result->outcome, message->route->integration);
        ending.error = is_late ? "Endpoint request timed out" : "Internal server error";
        ending.response_type = is_late ? "INTEGRATION_TIMEOUT" : "INTEGRATION_FAILURE";
        log_integration_failure(message, result);
    }
    end_message(message, &ending);
}

static void invoke_integration(struct message *message, const char *text, size_t len)
{
    struct gateway *gateway = message->gateway;
    struct connection *connection = message->connection;
    struct event_context context;
    struct integration_event event = {
        .kind = EVENT_MESSAGE,
        .context = &context,
        .route_key = message->route->key,
        .request_id = message->request_id,
        .message_id = message->message_id,
        .body = text,
        .body_len = len,
        .now_ms = message->received_ms,
        .wants_answer = message->route->has_response,
    };

    gateway_event_context(gateway, connection, &context);
    connection->calls++;
    integration_invoke(gateway->env.integrations, message->route->integration, &event,
                       on_integration, message);
}

/* ---- SQL ---- */

static void count_throttled(struct gateway *gateway, struct connection *connection)
{
    gateway->env.metrics->throttled++;
    connection->throttled_count++;
}

/* $error gets the seconds to wait as its text; API Gateway knows no $error. */
static void refuse_throttled(struct gateway *gateway, struct message *message,
                             const struct backend_message *event, int64_t wait_s)
{
    char seconds[24];
    struct backend_refusal refusal = {.code = "SB429", .text = seconds};

    count_throttled(gateway, event->connection);
    if (config_is_on(gateway->env.config->aws_strict) || is_abuser(gateway, event->connection)) {
        end_message(message, &throttled);
        return;
    }
    message->is_refused = true;
    snprintf(seconds, sizeof(seconds), "%lld", (long long)wait_s);
    backend_refuse(gateway->env.backend, event, &refusal, on_answered, message);
}

static void run_or_refuse(struct gateway *gateway, struct message *message,
                          const struct backend_message *event)
{
    int64_t wait_s = gateway_limits_take(gateway->limits, event->connection, event->route_key);

    message->began_ms = clock_mono_ms();
    if (wait_s > 0) {
        refuse_throttled(gateway, message, event, wait_s);
        return;
    }
    event->connection->throttled_count = 0;
    backend_message(gateway->env.backend, event, on_answered, message);
}

/* False when it has to wait for the key of its token. */
static bool hand_over(struct gateway *gateway, struct message *message, const char *text,
                      size_t len)
{
    struct backend_message event = {
        .connection = message->connection,
        .route_key = message->route ? message->route->key : message->route_key,
        .request_id = message->request_id,
        .message_id = message->message_id,
        .body = text,
        .body_len = len,
    };
    struct buf claims;
    enum status st;

    buf_init(&claims, GATEWAY_CLAIMS_BYTES);
    st = gateway_verify_message(gateway->env.auth, text, len, &claims);
    if (st == OK)
        event.token = buf_str(&claims);
    if (st != UNAVAILABLE)
        run_or_refuse(gateway, message, &event);
    buf_done(&claims);
    return st != UNAVAILABLE;
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

void gateway_free_held_messages(struct connection *connection)
{
    while (connection->held) {
        struct message *message = connection->held;

        connection->held = message->held_next;
        jwks_source_unwait(&message->waiter);
        message_free(message);
    }
    connection->held_count = 0;
}

/* ---- a message ---- */

static bool is_for_sql(const struct message *message)
{
    return !message->route ||
           (message->route->integration && message->route->integration->type == API_SQL);
}

/* Finds the route.  What ends the message here and now, or NULL. */
static const struct ending *choose_route(struct message *message, const char *text, size_t len)
{
    struct gateway *gateway = message->gateway;
    struct api *api = gateway->env.api;
    struct buf key;

    buf_init(&key, ROUTE_KEY_BYTES);
    route_select(gateway->selection, text, len, &key);
    message->route_key = buf_take(&key);
    if (!api)
        return NULL;
    message->route = api_route(api, message->route_key);
    if (!message->route)
        message->route = api_route(api, "$default");
    if (!message->route) {
        gateway->env.metrics->forbidden++;
        return &forbidden;
    }
    return NULL;
}

/* The limits that SQL's $error does not answer.  NULL: none is passed. */
static const struct ending *check_limits(struct message *message)
{
    struct gateway *gateway = message->gateway;
    struct api_route *route = message->route;
    bool is_over = !gateway_limits_take_all(gateway->limits);

    if (!is_over && route)
        is_over = rate_bucket_take(&route->bucket, &route->rate, clock_mono_ms()) > 0;
    if (!is_over && !is_for_sql(message))
        is_over = gateway_limits_take(gateway->limits, message->connection, route->key) > 0;
    if (is_over) {
        count_throttled(gateway, message->connection);
        return &throttled;
    }
    if (!is_for_sql(message))
        message->connection->throttled_count = 0;
    return NULL;
}

static void dispatch(struct message *message, const char *text, size_t len)
{
    const struct ending accepted = {.status = 200, .latency_ms = -1};

    if (is_for_sql(message)) {
        if (message->connection->held || !hand_over(message->gateway, message, text, len))
            hold_message(message, text, len);
    } else if (message->route->integration) {
        invoke_integration(message, text, len);
    } else {
        end_message(message, &accepted);
    }
}

void gateway_message(struct gateway *gateway, struct connection *connection, const char *text,
                     size_t len)
{
    const struct ending *ending;
    struct message *message;

    if (connection->state != CONNECTION_OPEN)
        return;
    gateway->env.metrics->messages_in++;
    gateway->env.metrics->bytes_in += len;
    gateway_clock_touch(gateway->clock, connection);
    message = mem_alloc(sizeof(*message));
    message->gateway = gateway;
    message->connection = connection;
    message->received_ms = loop_unix_ms(gateway->env.loop);
    id_mint_request(message->request_id);
    id_mint_message(connection->id, message->message_id);
    ending = choose_route(message, text, len);
    if (!ending)
        ending = check_limits(message);
    /* PostgreSQL's text cannot hold a NUL, and cutting the message there would change it. */
    if (!ending && is_for_sql(message) && memchr(text, '\0', len))
        ending = &bad_body;
    if (ending) {
        end_message(message, ending);
        return;
    }
    dispatch(message, text, len);
    pause_or_go_on(gateway, connection);
}

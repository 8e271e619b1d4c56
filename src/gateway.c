/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "backend.h"
#include "config.h"
#include "connections.h"
#include "gateway_clock.h"
#include "gateway_limits.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"
#include "replay.h"
#include "route.h"

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

void gateway_event_context(const struct gateway *gateway, const struct connection *connection,
                           struct event_context *out)
{
    const struct config *config = gateway->env.config;

    *out = (struct event_context){
        .connection_id = connection->id,
        .stage = config->stage,
        .domain_name = connection->domain_name,
        .api_id = config->api_id,
        .source_ip = connection->source_ip,
        .user_agent = connection->user_agent,
        .authorizer = connection->authorizer,
        .stage_variables = gateway->env.api ? gateway->env.api->stage_variables_text : NULL,
        .connected_at_ms = connection->connected_at_ms,
    };
}

/* In SQL it comes after every message of the connection has been answered. */
void gateway_end_when_answered(struct gateway *gateway, struct connection *connection)
{
    char request_id[REQUEST_ID_BYTES];

    if (connection->state != CONNECTION_CLOSED || connection->is_ended ||
        connection->in_flight + connection->held_count + connection->calls > 0)
        return;
    connection->is_ended = true;
    id_mint_request(request_id);
    if (gateway->env.backend)
        backend_disconnect(gateway->env.backend, connection, request_id);
    gateway->env.metrics->disconnects++;
    log_debug("connection.end", "connection=%s code=%d reason=%s", connection_tag(connection),
              connection->close_code, log_quote(connection->close_reason));
    gateway_end_connection(gateway, connection);
}

/* ---- $disconnect outside SQL ---- */

struct goodbye {
    struct gateway *gateway;
    struct connection *connection;
    char request_id[REQUEST_ID_BYTES];
    int64_t time_ms;
};

static void record_goodbye(const struct goodbye *goodbye, const struct integration_result *result)
{
    const struct api_route *route =
        goodbye->gateway->env.api ? api_route(goodbye->gateway->env.api, "$disconnect") : NULL;
    struct gateway_record record = {
        .kind = EVENT_DISCONNECT,
        .route_key = "$disconnect",
        .request_id = goodbye->request_id,
        .time_ms = goodbye->time_ms,
        .status = 200,
        .integration = route ? route->integration : NULL,
        .latency_ms = -1,
    };

    if (result && result->outcome == INTEGRATION_ANSWERED) {
        record.status = result->status;
        record.latency_ms = result->latency_ms;
    } else if (result) {
        record.status = result->outcome == INTEGRATION_TIMED_OUT ? 504 : 502;
        record.error_message = "Internal server error";
        record.error_type = "INTEGRATION_FAILURE";
        record.latency_ms = result->latency_ms;
    }
    gateway_record(goodbye->gateway, goodbye->connection, &record);
}

/* Nobody is left to be told: the log is. */
static void on_goodbye(void *ctx, const struct integration_result *result)
{
    struct goodbye *goodbye = ctx;
    struct connection *connection = goodbye->connection;

    if (result->outcome != INTEGRATION_ANSWERED)
        log_warn("integration.failed", "connection=%s request=%s route=$disconnect error=%s",
                 connection_tag(connection), goodbye->request_id, log_quote(result->error));
    connection->calls--;
    record_goodbye(goodbye, result);
    gateway_end_when_answered(goodbye->gateway, connection);
    free(goodbye);
}

/* Right away, whatever is still under way: as API Gateway does. */
static void say_goodbye(struct gateway *gateway, struct connection *connection)
{
    const struct api_route *route =
        gateway->env.api ? api_route(gateway->env.api, "$disconnect") : NULL;
    struct goodbye *goodbye = mem_alloc(sizeof(*goodbye));
    struct event_context context;
    struct integration_event event = {
        .kind = EVENT_DISCONNECT,
        .context = &context,
        .route_key = "$disconnect",
        .request_id = goodbye->request_id,
        .code = connection->close_code,
        .reason = connection->close_reason,
    };

    goodbye->gateway = gateway;
    goodbye->connection = connection;
    goodbye->time_ms = event.now_ms = clock_unix_ms();
    id_mint_request(goodbye->request_id);
    if (!route || !route->integration || route->integration->type == API_SQL) {
        record_goodbye(goodbye, NULL);
        free(goodbye);
        return;
    }
    gateway_event_context(gateway, connection, &context);
    connection->calls++;
    integration_invoke(gateway->env.integrations, route->integration, &event, on_goodbye, goodbye);
}

/* The socket is gone, or never was. */
static void leave(struct gateway *gateway, struct connection *connection)
{
    gateway_clock_remove(gateway->clock, connection);
    replay_stop(connection);
    say_goodbye(gateway, connection);
    gateway_end_when_answered(gateway, connection);
}

void gateway_abandon(struct gateway *gateway, struct connection *connection)
{
    connection_set_state(connection, CONNECTION_CLOSED);
    connection->close_code = 1006;
    snprintf(connection->close_reason, sizeof(connection->close_reason),
             "Gone before the handshake was answered");
    leave(gateway, connection);
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

void gateway_touch(struct gateway *gateway, struct connection *connection)
{
    gateway_clock_touch(gateway->clock, connection);
}

void gateway_seen(struct gateway *gateway, struct connection *connection)
{
    if (!config_is_on(gateway->env.config->ping_resets_idle))
        return;
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
    leave(gateway, connection);
}

bool gateway_take_request(struct gateway *gateway)
{
    bool is_taken = gateway_limits_take_account(gateway->limits);

    if (!is_taken)
        gateway->env.metrics->throttled++;
    return is_taken;
}

/* ---- life ---- */

static enum status apply_settings(struct gateway *gateway, struct error *err)
{
    const struct profile_settings *settings = gateway->env.settings;
    const struct api *api = gateway->env.api;
    const char *expression = api && api->route_selection_expression
                                 ? api->route_selection_expression
                                 : settings->route_selection_expression;
    struct route_expression *selection = NULL;

    if (route_compile(expression, &selection, err) != OK)
        return fail_context(err, "route_selection_expression");
    if (gateway_limits_set(gateway->limits, gateway->env.config, settings, err) != OK) {
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
        gateway_free_held_messages(c);
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

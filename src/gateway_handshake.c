/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_handshake.c - from a request for a WebSocket to its 101 or its refusal.
 */
#include "gateway_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "config.h"
#include "connections.h"
#include "gateway_limits.h"
#include "gateway_resume.h"
#include "json.h"
#include "log.h"
#include "metrics.h"
#include "profile.h"
#include "replay.h"

static const char *message_for(int status)
{
    switch (status) {
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 429:
        return "Too Many Requests";
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

    buf_init(&body, GATEWAY_FRAME_BYTES);
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
    struct gateway_response response = {
        .status = status, .body = body, .request_id = handshake->request_id};

    connection_set_state(connection, CONNECTION_CLOSED);
    handshake->done(handshake->ctx, &response);
    gateway_end_connection(handshake->gateway, connection);
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

static void handshake_free(struct handshake *handshake)
{
    free(handshake->token.text);
    free(handshake->subprotocol);
    free(handshake->head);
    free(handshake);
}

/* The names that API Gateway's logs have for what its own answers mean. */
static const char *response_type_of(int status)
{
    switch (status) {
    case 401:
        return "UNAUTHORIZED";
    case 403:
        return "ACCESS_DENIED";
    case 429:
        return "THROTTLED";
    case 502:
        return "INTEGRATION_FAILURE";
    case 504:
        return "INTEGRATION_TIMEOUT";
    default:
        return "API_CONFIGURATION_ERROR";
    }
}

/* error: what the gateway says itself, NULL when an integration has spoken. */
static void record(const struct handshake *handshake, int status, const char *error)
{
    struct gateway_record record = {
        .kind = EVENT_CONNECT,
        .route_key = "$connect",
        .request_id = handshake->request_id,
        .time_ms = handshake->connection->connected_at_ms,
        .status = status,
        .error_message = error,
        .error_type = error ? response_type_of(status) : NULL,
        .integration = handshake->integration,
        .latency_ms = handshake->latency_ms,
        .authorizer_latency_ms = handshake->authorizer_latency_ms,
        .authorizer_status = handshake->authorizer_status,
    };

    gateway_record(handshake->gateway, handshake->connection, &record);
}

void handshake_refuse(struct handshake *handshake, int status, const char *message)
{
    struct buf body;

    count_outcome(handshake->gateway->env.metrics, status);
    record(handshake, status, message);
    buf_init(&body, GATEWAY_FRAME_BYTES);
    event_write_error(&body, message, handshake->connection->id, handshake->request_id);
    reject(handshake, status, buf_str(&body));
    buf_done(&body);
    handshake_free(handshake);
}

void handshake_finish(struct handshake *handshake, int status, const char *body)
{
    const char *subprotocol = handshake->subprotocol;
    struct gateway_response response = {
        .status = 101,
        .request_id = handshake->request_id,
        .subprotocol = subprotocol || !handshake->token.offers_bearer ? subprotocol : "bearer",
        .connection = handshake->connection,
    };

    log_debug("connection.connect", "connection=%s id=%s request=%s status=%d",
              connection_tag(handshake->connection), handshake->connection->id,
              handshake->request_id, status);
    if (status != 200 && !body) {
        handshake_refuse(handshake, status, message_for(status));
        return;
    }
    count_outcome(handshake->gateway->env.metrics, status);
    record(handshake, status, NULL);
    if (status == 200)
        handshake->done(handshake->ctx, &response);
    else
        reject(handshake, status, body);
    handshake_free(handshake);
}

static void on_registered(void *ctx, int status, const char *body, const char *subprotocol)
{
    struct handshake *handshake = ctx;

    if (subprotocol) {
        free(handshake->subprotocol);
        handshake->subprotocol = mem_strdup(subprotocol);
    }
    if (handshake->latency_ms < 0)
        handshake->latency_ms = clock_unix_ms() - handshake->connection->connected_at_ms;
    handshake_finish(handshake, status, body);
}

void handshake_keep_head(struct handshake *handshake, const struct http_head *head)
{
    if (handshake->head)
        return;
    handshake->head = mem_strndup(head->method.data, head->size);
    handshake->head_len = head->size;
}

void handshake_kept_head(const struct handshake *handshake, struct http_head *head)
{
    enum status st = http_head_parse(handshake->head, handshake->head_len, head, NULL);

    assert(st == OK); /* it was parsed before */
    (void)st;
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
    if (gateway->env.replays)
        gateway_expect_resume(gateway->env.replays, connection, head);
    return connection;
}

void handshake_register(struct handshake *handshake, const struct http_head *head)
{
    struct gateway *gateway = handshake->gateway;
    struct connection *connection = handshake->connection;
    const struct backend_handshake what = {
        .head = head,
        .request_id = handshake->request_id,
        .trace_id = handshake->trace_id,
        .claims = connection->authorizer,
    };

    backend_connect(gateway->env.backend, connection, &what, on_registered, handshake);
    if (!gateway->env.integrations) {
        free(connection->authorizer); /* the database keeps the claims */
        connection->authorizer = NULL;
    }
}

static void start_connect(struct handshake *handshake, const struct http_head *head)
{
    if (handshake->gateway->env.api)
        gateway_connect(handshake, head);
    else
        handshake_register(handshake, head);
}

/* ---- who is there ---- */

/* At exp; a token that is older already, within the leeway, has the rest of that. */
static void limit_by_token(struct handshake *handshake, int64_t expires_s)
{
    const struct config *config = handshake->gateway->env.config;
    int64_t left_ms = expires_s * 1000 - clock_unix_ms();

    if (expires_s == 0 || !config_is_on(config->token_expiry_closes))
        return;
    if (left_ms <= 0)
        left_ms += config->jwt_leeway_s * 1000;
    handshake->connection->token_expires_mono_ms = clock_mono_ms() + left_ms;
}

static void connect_as(struct handshake *handshake, const struct http_head *head,
                       const struct buf *claims)
{
    struct buf authorizer;

    buf_init(&authorizer, SIZE_MAX); /* a few times the token, which has a limit */
    limit_by_token(handshake, gateway_write_authorizer(claims->data, claims->len, &authorizer));
    handshake->connection->authorizer = buf_take(&authorizer);
    start_connect(handshake, head);
}

static void refuse(struct handshake *handshake, const struct error *err)
{
    struct gateway *gateway = handshake->gateway;

    log_debug("token.refused", "connection=%s request=%s error=%s",
              connection_tag(handshake->connection), handshake->request_id, log_quote(err->text));
    if (!auth_is_set(gateway->env.auth) && !gateway->is_keyless_logged) {
        gateway->is_keyless_logged = true;
        log_error("auth.no_key", "error=%s hint=%s",
                  log_quote("tokens are required, and there is nothing to verify them with"),
                  log_quote("set jwt_secret, jwt_public_key_file, jwt_jwks_file or jwt_jwks_url"));
    }
    handshake_finish(handshake, 401, NULL);
}

static void on_keys(void *ctx);

static void hold(struct handshake *handshake, const struct http_head *head)
{
    struct gateway *gateway = handshake->gateway;

    handshake_keep_head(handshake, head);
    handshake->waiter = (struct jwks_waiter){.fn = on_keys, .ctx = handshake};
    handshake->held_next = gateway->held;
    gateway->held = handshake;
    auth_wait(gateway->env.auth, &handshake->waiter);
}

static void check_token(struct handshake *handshake, const struct http_head *head)
{
    struct gateway *gateway = handshake->gateway;
    struct error err = {.text = "there is no token"};
    enum status st = DENIED;
    struct buf claims;

    buf_init(&claims, GATEWAY_CLAIMS_BYTES);
    if (handshake->token.text)
        st = auth_verify(gateway->env.auth, handshake->token.text, clock_unix_ms() / 1000, &claims,
                         &err);
    if (st == UNAVAILABLE)
        hold(handshake, head);
    else if (st == OK)
        connect_as(handshake, head, &claims);
    else if (gateway->env.settings->auth == AUTH_REQUIRED)
        refuse(handshake, &err);
    else
        start_connect(handshake, head);
    buf_done(&claims);
}

static void on_keys(void *ctx)
{
    struct handshake *handshake = ctx;
    struct handshake **link = &handshake->gateway->held;
    struct http_head head;

    while (*link != handshake)
        link = &(*link)->held_next;
    *link = handshake->held_next;
    handshake_kept_head(handshake, &head);
    check_token(handshake, &head);
}

/* This node stops: whoever waits for keys is told to try another one. */
void gateway_turn_away_held(struct gateway *gateway)
{
    while (gateway->held) {
        struct handshake *handshake = gateway->held;

        gateway->held = handshake->held_next;
        jwks_source_unwait(&handshake->waiter);
        handshake_finish(handshake, 503, NULL);
    }
}

void gateway_free_held(struct gateway *gateway)
{
    while (gateway->held) {
        struct handshake *handshake = gateway->held;

        gateway->held = handshake->held_next;
        jwks_source_unwait(&handshake->waiter);
        handshake_free(handshake);
    }
}

static struct handshake *begin(struct gateway *gateway, const struct http_head *head,
                               const char *peer_ip)
{
    struct handshake *handshake = mem_alloc(sizeof(*handshake));

    handshake->gateway = gateway;
    handshake->connection = open_connection(gateway, head, peer_ip);
    handshake->latency_ms = -1;
    handshake->authorizer_latency_ms = -1;
    id_mint_request(handshake->request_id);
    trace_id_mint(handshake->trace_id, handshake->connection->connected_at_ms);
    gateway->env.metrics->pending_handshakes++;
    return handshake;
}

static bool is_within_rates(struct gateway *gateway)
{
    struct api *api = gateway->env.api;
    struct api_route *route = api ? api_route(api, "$connect") : NULL;

    return gateway_limits_take_connect(gateway->limits) &&
           (!route || rate_bucket_take(&route->bucket, &route->rate, clock_mono_ms()) == 0);
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
    handshake = begin(gateway, head, peer_ip);
    handshake->done = done;
    handshake->ctx = ctx;
    if (!is_within_rates(gateway)) {
        metrics->throttled++;
        handshake_finish(handshake, 429, NULL);
        return;
    }
    if (gateway->env.settings->auth == AUTH_OFF) {
        start_connect(handshake, head);
        return;
    }
    gateway_find_token(head, &handshake->token);
    check_token(handshake, head);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stateless.c - an event of another gateway, from its JSON to what that gateway is answered.
 */
#include "stateless_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "gateway_auth.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pgarray.h"
#include "profile.h"
#include "rate_limit.h"

enum { FRAME_BYTES = 512, CLAIMS_BYTES = 64 * 1024, ENDPOINT_BYTES = 512, BACKLOG_TICK_MS = 2 };

/* One event on its way. */
struct event_call {
    struct stateless *stateless;
    enum incoming_kind kind;
    struct connection *connection;
    char *request_id;
    char *message_id;
    char *route_key;
    char *body;
    char *endpoint;
    struct incoming event; /* of a CONNECT, until it is handed over: a copy with its own document */
    struct gateway_token token;
    char *authorizer; /* JSON object text of a CONNECT whose token was verified here */
    int64_t deadline_ms;
    int64_t wait_s; /* a limit was hit, that has something left after so long; 0: none was */
    size_t sending; /* frames on their way */
    bool is_refused;
    bool is_over; /* the backend has answered */
    int status;
    struct jwks_waiter waiter;
    struct stateless_wait wait; /* for keys, or for the backlog */
    struct timer *timer;
    struct deferred end;
    stateless_done *done;
    void *ctx;
};

/* ---- life of a call ---- */

static char *text_or(const char *text, const char *fallback)
{
    return mem_strdup(text ? text : fallback);
}

/* https://{apiId}.execute-api.{region}.amazonaws.com/{stage}: the name that works whatever custom
 * domain the client came through. */
static char *endpoint_of(const struct stateless *stateless, const struct incoming *event)
{
    const struct config *config = stateless->env.config;
    char endpoint[ENDPOINT_BYTES];

    if (*config->public_endpoint)
        return mem_strdup(config->public_endpoint);
    snprintf(endpoint, sizeof(endpoint), "https://%s.execute-api.%s.amazonaws.com/%s",
             event->api_id ? event->api_id : "unknown", config->aws_region,
             event->stage ? event->stage : "");
    return mem_strdup(endpoint);
}

static struct event_call *call_create(struct stateless *stateless, const struct incoming *event,
                                      stateless_done *done, void *ctx)
{
    struct event_call *call = mem_alloc(sizeof(*call));
    struct connection *connection;
    char request_id[REQUEST_ID_BYTES];

    id_mint_request(request_id);
    call->stateless = stateless;
    call->kind = event->kind;
    call->request_id = text_or(event->request_id, request_id);
    call->message_id = text_or(event->message_id, "");
    call->route_key = text_or(event->route_key, "$default");
    call->body = text_or(event->body, "");
    call->endpoint = endpoint_of(stateless, event);
    call->done = done;
    call->ctx = ctx;
    connection = connection_create_virtual(event->connection_id,
                                           (size_t)stateless->env.config->max_queue_bytes);
    connection->source_ip = text_or(event->source_ip, "");
    connection->user_agent = mem_strdup(event->user_agent);
    connection->domain_name = text_or(event->domain_name, "");
    connection->connected_at_ms = event->connected_at_ms ? event->connected_at_ms : clock_unix_ms();
    connection->last_activity_ms = clock_unix_ms();
    connection->socket = call;
    call->connection = connection;
    return call;
}

/* At the end of the turn: the backend may still be at its connection. */
static void call_free(void *ctx)
{
    struct event_call *call = ctx;

    loop_timer_stop(call->timer);
    if (call->connection)
        connection_free_virtual(call->connection);
    incoming_done(&call->event);
    free(call->token.text);
    free(call->request_id);
    free(call->message_id);
    free(call->route_key);
    free(call->body);
    free(call->endpoint);
    free(call->authorizer);
    free(call);
}

static void answer(struct event_call *call, int status, const char *body, const char *subprotocol)
{
    const struct stateless_response response = {status, body, subprotocol};

    stateless_wait_end(&call->wait);
    loop_timer_stop(call->timer);
    call->timer = NULL;
    call->done(call->ctx, &response);
    call->end = (struct deferred){.fn = call_free, .ctx = call};
    loop_at_end_of_turn(call->stateless->env.loop, &call->end);
}

void stateless_write_response(const struct stateless_response *response, struct buf *out)
{
    json_open(out, NULL, '{');
    json_int(out, "statusCode", response->status);
    if (response->subprotocol) {
        json_open(out, "headers", '{');
        json_str(out, "Sec-WebSocket-Protocol", response->subprotocol);
        json_close(out, '}');
    }
    if (response->body)
        json_str(out, "body", response->body);
    json_close(out, '}');
}

/* ---- messages ---- */

static void finish_when_sent(struct event_call *call)
{
    if (call->is_over && call->sending == 0)
        answer(call, call->status, NULL, NULL);
}

static void on_frame_sent(void *ctx)
{
    struct event_call *call = ctx;

    call->sending--;
    finish_when_sent(call);
}

/* Something is in `out`: it leaves at once, so that a route that goes on for long is heard. */
static void on_output(struct connection *connection)
{
    struct event_call *call = connection->socket;

    connection->is_output_pending = false;
    call->sending += stateless_send_frames(call->stateless, connection, call->endpoint,
                                           call->deadline_ms, on_frame_sent, call);
}

static void on_flow(struct connection *connection, bool may_read)
{
    (void)connection;
    (void)may_read;
}

static const struct socket_ops sending_ops = {on_output, on_flow};

/* The frame that our own gateway would have sent: API Gateway sends one for a function that failed,
 * but the invocation has not. */
static void send_error(struct event_call *call, const char *text)
{
    struct buf frame;

    buf_init(&frame, FRAME_BYTES);
    event_write_error(&frame, text, call->connection->id, call->request_id);
    if (connection_send(call->connection, buf_str(&frame), frame.len) != OK)
        log_warn("stateless.not_told", "request=%s text=%s", log_quote(call->request_id),
                 log_quote(text));
    buf_done(&frame);
}

static void on_message_answered(void *ctx, enum backend_result result)
{
    struct event_call *call = ctx;

    call->is_over = true;
    switch (result) {
    case BACKEND_OK:
        call->status = call->is_refused ? 429 : 200;
        break;
    case BACKEND_FORBIDDEN:
        call->status = 403;
        send_error(call, "Forbidden");
        break;
    case BACKEND_ERROR:
        call->status = call->is_refused ? 429 : 500;
        send_error(call, call->is_refused ? "Too Many Requests" : "Internal server error");
        break;
    case BACKEND_TIMEOUT:
        call->status = 504;
        send_error(call, "Endpoint request timed out");
        break;
    }
    finish_when_sent(call);
}

static void hand_over(struct event_call *call, const char *token)
{
    struct backend_message message = {
        .connection = call->connection,
        .route_key = call->route_key,
        .request_id = call->request_id,
        .message_id = call->message_id,
        .body = call->body,
        .body_len = strlen(call->body),
        .token = token,
    };
    struct backend *backend = call->stateless->backend;
    char seconds[24];
    struct backend_refusal refusal = {.code = "SB429", .text = seconds};

    if (!backend_touch(backend, call->connection->id, call->connection->last_activity_ms))
        log_debug("stateless.not_touched", "request=%s", log_quote(call->request_id));
    if (call->wait_s == 0) {
        backend_message(backend, &message, on_message_answered, call);
        return;
    }
    call->is_refused = true;
    call->stateless->env.metrics->throttled++;
    snprintf(seconds, sizeof(seconds), "%lld", (long long)call->wait_s);
    backend_refuse(backend, &message, &refusal, on_message_answered, call);
}

static void on_keys(void *ctx);
static void give_up_keys(void *ctx);

/* False when there is no time for it. */
static bool wait_for_keys(struct event_call *call)
{
    if (clock_mono_ms() >= call->deadline_ms ||
        !stateless_wait_begin(call->stateless, &call->wait, give_up_keys, call))
        return false;
    call->waiter = (struct jwks_waiter){.fn = on_keys, .ctx = call};
    auth_wait(call->stateless->env.auth, &call->waiter);
    return true;
}

/* Verifies the token in the message, if there is one, and runs the route. */
static void run_message(struct event_call *call)
{
    struct auth *auth = call->stateless->env.auth;
    struct buf claims;
    enum status st;

    buf_init(&claims, CLAIMS_BYTES);
    st = gateway_verify_message(auth, call->body, strlen(call->body), &claims);
    if (st != UNAVAILABLE || !wait_for_keys(call))
        hand_over(call, st == OK ? buf_str(&claims) : NULL);
    buf_done(&claims);
}

static void on_tokens(void *ctx, const struct error *err, const struct rows *rows)
{
    struct event_call *call = ctx;

    if (err)
        log_warn("stateless.limits_failed", "error=%s sqlstate=%s next=%s", log_quote(err->text),
                 err->sqlstate, log_quote("running the message without them"));
    else if (rows_count(rows) > 0)
        call->wait_s = rows_int(rows, 0, 0);
    run_message(call);
}

/* The limits of a message, as array literals of rates and bursts: connection, user, route.  False
 * when there are none. */
static bool write_limits(const struct event_call *call, struct buf *rates, struct buf *bursts)
{
    const struct profile_settings *settings = call->stateless->env.settings;
    struct rate parsed[3] = {{0}};
    struct rate_routes *routes = mem_alloc(sizeof(*routes));
    bool has_one = false;

    /* They were checked when they were read. */
    if (rate_parse(settings->rate_limit_connection, &parsed[0], NULL) != OK ||
        rate_parse(settings->rate_limit_user, &parsed[1], NULL) != OK ||
        rate_routes_parse(settings->rate_limit_routes, routes, NULL) != OK)
        memset(parsed, 0, sizeof(parsed));
    for (size_t i = 0; i < routes->count; i++)
        if (strcmp(routes->items[i].name, call->route_key) == 0)
            parsed[2] = routes->items[i].rate;
    free(routes);
    buf_addc(rates, '{');
    buf_addc(bursts, '{');
    for (size_t i = 0; i < ARRAY_LEN(parsed); i++) {
        has_one = has_one || parsed[i].burst > 0;
        buf_addf(rates, "%s%.6f", i ? "," : "", parsed[i].per_ms * 1000);
        buf_addf(bursts, "%s%.6f", i ? "," : "", parsed[i].burst);
    }
    buf_addc(rates, '}');
    buf_addc(bursts, '}');
    return has_one;
}

static void start_message(struct event_call *call)
{
    struct buf rates, bursts;
    const char *params[4] = {call->connection->id, call->route_key, NULL, NULL};
    const struct stateless_query query = {
        "take_message_tokens", "select switchboard.take_message_tokens($1, $2, $3, $4)", params, 4};

    call->connection->socket_ops = &sending_ops;
    call->connection->is_greeting = false;
    buf_init(&rates, FRAME_BYTES);
    buf_init(&bursts, FRAME_BYTES);
    if (write_limits(call, &rates, &bursts)) {
        params[2] = buf_str(&rates);
        params[3] = buf_str(&bursts);
        stateless_query(call->stateless, &query, on_tokens, call);
    } else {
        run_message(call);
    }
    buf_done(&rates);
    buf_done(&bursts);
}

/* ---- what a client missed ---- */

static struct opened *find_opened(struct stateless *stateless, const struct connection *connection)
{
    struct opened *opened = stateless->opened;

    while (opened && opened->connection != connection)
        opened = opened->next;
    return opened;
}

static void on_resumed(void *ctx)
{
    on_frame_sent(ctx);
}

/* A route, or ?resume=, has granted these topics; payload is {"topics":{...}}. */
static void on_resume(void *ctx, struct connection *connection, const char *payload)
{
    struct stateless *stateless = ctx;
    struct event_call *call = connection->socket;
    struct opened *opened = call ? NULL : find_opened(stateless, connection);

    if (opened) {
        free(opened->resume);
        opened->resume = mem_strdup(payload);
    } else if (call) {
        call->sending++;
        stateless_resume(stateless, connection, payload, on_resumed, call);
    }
}

/* ---- $connect ---- */

/* What was sent to it goes out when the gateway has the answer: before, it would not be found. */
static void keep_opened(struct event_call *call)
{
    struct opened *opened = mem_alloc(sizeof(*opened));
    struct opened **link = &call->stateless->opened;

    while (*link)
        link = &(*link)->next;
    opened->connection = call->connection;
    opened->connection->socket = NULL;
    opened->endpoint = call->endpoint;
    call->connection = NULL;
    call->endpoint = NULL;
    *link = opened;
}

static void refuse_connect(struct event_call *call, int status, const char *text)
{
    struct buf body;

    buf_init(&body, FRAME_BYTES);
    event_write_error(&body, text, call->connection->id, call->request_id);
    answer(call, status, buf_str(&body), NULL);
    buf_done(&body);
}

static const char *text_of_status(int status)
{
    switch (status) {
    case 401:
        return "Unauthorized";
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

static void on_connected(void *ctx, int status, const char *body, const char *subprotocol)
{
    struct event_call *call = ctx;

    if (!subprotocol && call->token.offers_bearer)
        subprotocol = "bearer";
    if (status == 200) {
        keep_opened(call);
        answer(call, 200, NULL, subprotocol);
    } else if (body) {
        answer(call, status, body, NULL);
    } else {
        refuse_connect(call, status, text_of_status(status));
    }
}

static void register_connection(struct event_call *call)
{
    struct stateless *stateless = call->stateless;
    struct backend_handshake handshake;
    struct buf event;

    backend_set_endpoint(stateless->backend, call->endpoint);
    buf_init(&event, SIZE_MAX); /* what came, once more */
    incoming_write_connect(&call->event, call->authorizer, &event);
    handshake = (struct backend_handshake){.json = buf_str(&event), .json_len = event.len};
    backend_connect(stateless->backend, call->connection, &handshake, on_connected, call);
    buf_done(&event);
}

/* Where the gateway has an authorizer, that has spoken; else the token is verified here. */
static void check_token(struct event_call *call)
{
    struct stateless *stateless = call->stateless;
    struct error err = {.text = "there is no token"};
    enum status st = DENIED;
    struct buf claims, authorizer;

    if (stateless->env.settings->auth == AUTH_OFF || call->event.has_authorizer) {
        register_connection(call);
        return;
    }
    free(call->token.text);
    call->token = (struct gateway_token){.text = NULL};
    stateless_find_token(&call->event, &call->token);
    buf_init(&claims, CLAIMS_BYTES);
    buf_init(&authorizer, SIZE_MAX); /* a few times the claims */
    if (call->token.text)
        st = auth_verify(stateless->env.auth, call->token.text, clock_unix_ms() / 1000, &claims,
                         &err);
    if (st == OK) {
        (void)gateway_write_authorizer(claims.data, claims.len, &authorizer);
        call->authorizer = buf_take(&authorizer);
    }
    buf_done(&claims);
    buf_done(&authorizer);
    if (st == UNAVAILABLE && wait_for_keys(call))
        return;
    if (st == OK || stateless->env.settings->auth != AUTH_REQUIRED) {
        register_connection(call);
    } else {
        log_debug("token.refused", "request=%s error=%s", log_quote(call->request_id),
                  log_quote(err.text));
        refuse_connect(call, 401, "Unauthorized");
    }
}

static void on_keys(void *ctx)
{
    struct event_call *call = ctx;

    stateless_wait_end(&call->wait);
    if (call->kind == INCOMING_CONNECT)
        check_token(call);
    else
        run_message(call);
}

static void give_up_keys(void *ctx)
{
    struct event_call *call = ctx;

    jwks_source_unwait(&call->waiter);
    if (call->kind == INCOMING_CONNECT)
        refuse_connect(call, 503, "Service Unavailable");
    else
        on_message_answered(call, BACKEND_ERROR);
}

/* ---- $disconnect ---- */

/* The backend keeps a disconnect until the database has it, and does not say when. */
static void on_backlog_tick(void *ctx)
{
    struct event_call *call = ctx;
    bool is_late = clock_mono_ms() >= call->deadline_ms;

    if (backend_backlog(call->stateless->backend) == 0 || is_late)
        answer(call, is_late ? 500 : 200, NULL, NULL);
}

static void give_up_disconnect(void *ctx)
{
    answer(ctx, 500, NULL, NULL);
}

static void start_disconnect(struct event_call *call, int code, const char *reason)
{
    struct connection *connection = call->connection;

    connection->close_code = code;
    snprintf(connection->close_reason, sizeof(connection->close_reason), "%s", reason);
    backend_disconnect(call->stateless->backend, connection, call->request_id);
    if (!stateless_wait_begin(call->stateless, &call->wait, give_up_disconnect, call)) {
        give_up_disconnect(call);
        return;
    }
    call->timer = loop_timer(call->stateless->env.loop, BACKLOG_TICK_MS, BACKLOG_TICK_MS,
                             on_backlog_tick, call);
}

/* ---- the interface ---- */

static void on_settings(void *ctx, const struct error *err)
{
    struct event_call *call = ctx;

    if (err && call->kind == INCOMING_CONNECT)
        refuse_connect(call, 503, "Service Unavailable");
    else if (err)
        on_message_answered(call, BACKEND_ERROR);
    else if (call->kind == INCOMING_CONNECT)
        check_token(call);
    else
        start_message(call);
}

void stateless_event(struct stateless *stateless, const struct incoming *event, int64_t deadline_ms,
                     stateless_done *done, void *ctx)
{
    struct event_call *call = call_create(stateless, event, done, ctx);
    struct buf copy;

    call->deadline_ms = deadline_ms;
    if (event->kind == INCOMING_DISCONNECT) {
        start_disconnect(call, (int)event->code, event->reason);
        return;
    }
    if (event->kind == INCOMING_CONNECT) {
        buf_init(&copy, SIZE_MAX); /* what came, once more */
        json_write(&copy, NULL, event->document);
        if (incoming_parse(buf_str(&copy), copy.len, &call->event, NULL) != OK)
            call->event = (struct incoming){.kind = INCOMING_UNKNOWN};
        buf_done(&copy);
    } else {
        call->connection->socket_ops = &sending_ops;
        call->connection->is_greeting = false;
    }
    stateless_with_settings(stateless, on_settings, call);
}

void stateless_query(struct stateless *stateless, const struct stateless_query *query,
                     pg_done *done, void *ctx)
{
    const struct store_query call = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = query->name,
        .sql = query->sql,
        .params = query->params,
        .param_count = query->count,
    };

    store_call(stateless->env.store, &call, done, ctx);
}

bool stateless_wait_begin(struct stateless *stateless, struct stateless_wait *wait,
                          void (*give_up)(void *ctx), void *ctx)
{
    if (stateless->is_closing)
        return false;
    assert(!wait->link);
    *wait = (struct stateless_wait){give_up, ctx, stateless->waits, &stateless->waits};
    if (wait->next)
        wait->next->link = &wait->next;
    stateless->waits = wait;
    return true;
}

void stateless_wait_end(struct stateless_wait *wait)
{
    if (!wait->link)
        return;
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    wait->link = NULL;
}

static void on_published(void *ctx)
{
    struct stateless *stateless = ctx;

    if (stateless->env.on_published)
        stateless->env.on_published(stateless->env.ctx);
}

struct stateless *stateless_create(const struct stateless_env *env)
{
    struct stateless *stateless = mem_alloc(sizeof(*stateless));
    struct backend_env backend = {
        .loop = env->loop,
        .config = env->config,
        .store = env->store,
        .settings = env->settings,
        .metrics = env->metrics,
        .on_published = on_published,
        .on_resume = on_resume,
        .ctx = stateless,
    };

    stateless->env = *env;
    stateless->connections = connections_create((size_t)env->config->max_queue_bytes);
    backend.connections = stateless->connections;
    stateless->backend = backend_create(&backend);
    /* Whoever else is to get something is not here: through the log. */
    backend_set_other_nodes(stateless->backend, 1);
    return stateless;
}

void opened_free(struct opened *opened)
{
    connection_free_virtual(opened->connection);
    free(opened->endpoint);
    free(opened->resume);
    free(opened);
}

void stateless_close(struct stateless *stateless)
{
    stateless->is_closing = true;
    while (stateless->waits) {
        struct stateless_wait *wait = stateless->waits;

        stateless_wait_end(wait);
        wait->give_up(wait->ctx);
    }
}

void stateless_free(struct stateless *stateless)
{
    if (!stateless)
        return;
    while (stateless->opened) {
        struct opened *opened = stateless->opened;

        stateless->opened = opened->next;
        opened_free(opened);
    }
    backend_free(stateless->backend);
    connections_free(stateless->connections);
    free(stateless->settings_text);
    free(stateless);
}

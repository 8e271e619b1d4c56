/* SPDX-License-Identifier: Apache-2.0 */
#include "backend_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "delivery.h"
#include "follower.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pgarray.h"
#include "profile.h"
#include "replay.h"
#include "store.h"

enum { AUDIT_BYTES = 1800 }; /* of the details that fit into a line, quoted */

/* ---- results ---- */

bool result_is(const struct rows *rows, size_t row, const char *kind)
{
    const char *text = rows_text(rows, row, RESULT_KIND);

    return text && strcmp(text, kind) == 0;
}

void relay_begin(struct relay *relay)
{
    struct buf *all[] = {&relay->kinds, &relay->targets, &relay->payloads, &relay->excepts};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        buf_init(all[i], SIZE_MAX); /* bounded by the result it is copied from */
        pgarray_begin(all[i]);
    }
    relay->count = 0;
}

static void relay_add(struct relay *relay, const struct delivery *delivery)
{
    pgarray_add(&relay->kinds, delivery_kind_name(delivery->kind));
    pgarray_add(&relay->targets, delivery->target);
    pgarray_add(&relay->payloads, delivery->payload);
    pgarray_add(&relay->excepts, delivery->except);
    relay->count++;
}

/* There is something new for the log. */
static void tell_published(struct backend *backend)
{
    if (backend->env.follower)
        follower_wake(backend->env.follower);
    else if (backend->env.on_published)
        backend->env.on_published(backend->env.ctx);
}

static void on_relayed(void *ctx, const struct error *err, const struct rows *rows)
{
    struct backend *backend = ctx;

    (void)rows;
    if (!err) {
        tell_published(backend);
        return;
    }
    backend->env.metrics->database_errors++;
    log_warn("relay.failed", "error=%s sqlstate=%s next=dropped", log_quote(err->text),
             err->sqlstate);
}

void relay_send(struct relay *relay, struct backend *backend)
{
    struct buf *all[] = {&relay->kinds, &relay->targets, &relay->payloads, &relay->excepts};
    const char *params[5] = {backend->env.node_id};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        pgarray_end(all[i]);
        params[1 + i] = buf_str(all[i]);
    }
    if (relay->count > 0) {
        struct store_query query = {
            .lane = STORE_EVENT,
            .slot = STORE_ANY_SLOT,
            .name = "relay_deliveries",
            .sql = "select switchboard.relay_deliveries($1, $2, $3, $4, $5)",
            .params = params,
            .param_count = ARRAY_LEN(params),
        };

        store_call(backend->env.store, &query, on_relayed, backend);
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_done(all[i]);
}

/* What a route wants to be on record.  The payload is what the route chose, not a message's body.
 */
void log_audit(const char *connection_id, const struct rows *rows, size_t row)
{
    const char *payload = rows_text(rows, row, RESULT_PAYLOAD);
    size_t len = rows_len(rows, row, RESULT_PAYLOAD);
    struct json *json = NULL;
    const char *action = NULL;
    struct buf details;

    if (!payload)
        return;
    buf_init(&details, SIZE_MAX);
    json_strn(&details, NULL, payload, len < AUDIT_BYTES ? len : AUDIT_BYTES);
    if (json_parse(payload, len, &json, NULL) != OK ||
        json_opt_str(json, "action", &action, NULL) != OK)
        action = NULL;
    log_info("audit", "connection=%s action=%s details=%s", connection_id, log_quote(action),
             buf_str(&details));
    json_free(json);
    buf_done(&details);
}

static void start_replay(struct backend *backend, struct connection *origin, const char *payload,
                         size_t len)
{
    struct error err = {0};

    if (!backend->env.replays) {
        if (origin && backend->env.on_resume && payload)
            backend->env.on_resume(backend->env.ctx, origin, payload);
        return;
    }
    if (origin && replay_start(backend->env.replays, origin, payload ? payload : "", len, &err))
        log_warn("replay.refused", "connection=%s error=%s", connection_tag(origin),
                 log_quote(err.text));
}

void backend_apply_row(struct backend *backend, struct connection *origin, const struct rows *rows,
                       size_t row, struct relay *relay)
{
    struct delivery_context context = {backend->env.connections, backend->env.metrics};
    struct delivery delivery = {
        .target = rows_text(rows, row, RESULT_TARGET),
        .payload = rows_text(rows, row, RESULT_PAYLOAD),
        .payload_len = rows_len(rows, row, RESULT_PAYLOAD),
        .except = rows_text(rows, row, RESULT_EXCEPT),
    };

    if (result_is(rows, row, "published")) {
        tell_published(backend);
        return;
    }
    if (result_is(rows, row, "resume")) {
        start_replay(backend, origin, delivery.payload, delivery.payload_len);
        return;
    }
    if (result_is(rows, row, "audit")) {
        log_audit(origin ? origin->id : "-", rows, row);
        return;
    }
    if (!rows_text(rows, row, RESULT_KIND) ||
        !delivery_kind_parse(rows_text(rows, row, RESULT_KIND), &delivery.kind))
        return;
    (void)deliver(&context, origin, &delivery);
    if (backend->other_nodes > 0 && delivery_may_be_remote(&context, &delivery))
        relay_add(relay, &delivery);
}

static void apply_rows(struct backend *backend, struct connection *origin, const struct rows *rows)
{
    struct relay relay;

    relay_begin(&relay);
    for (size_t row = 0; row < rows_count(rows); row++)
        backend_apply_row(backend, origin, rows, row, &relay);
    relay_send(&relay, backend);
}

/* ---- messages ---- */

enum {
    MESSAGE_PARAMS = 11,
    ERROR_PARAMS = MESSAGE_PARAMS + 2,
    MAX_STEPS = 100 /* a route that goes on for ever does not */
};

/* One message event on its way.  The texts are kept for $error. */
struct message_call {
    struct backend *backend;
    struct connection *connection;
    backend_message_done *done;
    void *ctx;
    char route_key[128];
    char request_id[FOREIGN_ID_BYTES];
    char message_id[FOREIGN_ID_BYTES];
    char *body;
    char *token;
    char connected_at[24];
    unsigned steps; /* of then_run() */
};

static void finish_message(struct message_call *call, enum backend_result result)
{
    call->connection->in_flight--;
    call->backend->env.metrics->events_in_flight--;
    call->done(call->ctx, result);
    free(call->body);
    free(call->token);
    free(call);
}

static void fill_message_params(const struct message_call *call, const char *params[])
{
    const struct connection *connection = call->connection;

    params[0] = call->backend->routes;
    params[1] = call->route_key;
    params[2] = connection->id;
    params[3] = call->request_id;
    params[4] = call->message_id;
    params[5] = call->backend->env.config->stage;
    params[6] = connection->source_ip;
    params[7] = connection->user_agent;
    params[8] = call->connected_at;
    params[9] = call->body;
    params[10] = call->token;
}

static void on_error_handled(void *ctx, const struct error *err, const struct rows *rows)
{
    struct message_call *call = ctx;
    bool is_handled = !err && !(rows_count(rows) > 0 && result_is(rows, 0, "unhandled"));

    if (err)
        log_warn("route.error_handler_failed", "connection=%s request=%s error=%s sqlstate=%s",
                 connection_tag(call->connection), call->request_id, log_quote(err->text),
                 err->sqlstate);
    if (is_handled)
        apply_rows(call->backend, call->connection, rows);
    finish_message(call, is_handled ? BACKEND_OK : BACKEND_ERROR);
}

/* The route's own schema may have a typed error for it ("$error"). */
static void handle_error(struct message_call *call, const char *code, const char *text)
{
    const char *params[ERROR_PARAMS];
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = call->connection->slot,
        .name = "handle_error",
        .sql = "select " RESULT_COLUMNS " from switchboard.handle_error($1, $2, $3, $4, $5, $6, $7,"
               " $8, $9, $10, $11, $12, $13)",
        .params = params,
        .param_count = ERROR_PARAMS,
    };

    fill_message_params(call, params);
    params[MESSAGE_PARAMS] = code;
    params[MESSAGE_PARAMS + 1] = text;
    store_call(call->backend->env.store, &query, on_error_handled, call);
}

static void on_message_failed(struct message_call *call, const struct error *err)
{
    struct route_failure failure = {.connection = call->connection,
                                    .route_key = call->route_key,
                                    .request_id = call->request_id,
                                    .sqlstate = err->sqlstate,
                                    .text = err->text};

    if (err->status == UNAVAILABLE) {
        finish_message(call, BACKEND_ERROR);
        return;
    }
    log_route_failure(call->backend, &failure);
    if (err->status == LIMIT) {
        call->backend->env.metrics->route_timeouts++;
        finish_message(call, BACKEND_TIMEOUT);
        return;
    }
    call->backend->env.metrics->route_errors++;
    handle_error(call, err->sqlstate, err->text);
}

static void send_call(struct message_call *call);

/* What the route left for a step of its own ("then_run"): NULL when nothing. */
static const char *next_step(const struct rows *rows)
{
    for (size_t row = 0; row < rows_count(rows); row++)
        if (result_is(rows, row, "then"))
            return rows_text(rows, row, RESULT_TARGET);
    return NULL;
}

/* True when there is one and it is on its way. */
static bool go_on(struct message_call *call, const char *step)
{
    if (!step || ++call->steps > MAX_STEPS)
        return false;
    snprintf(call->route_key, sizeof(call->route_key), "%s", step);
    send_call(call);
    return true;
}

static void on_message_handled(void *ctx, const struct error *err, const struct rows *rows)
{
    struct message_call *call = ctx;
    bool is_forbidden;

    if (err) {
        on_message_failed(call, err);
        return;
    }
    is_forbidden = rows_count(rows) > 0 && result_is(rows, 0, "forbidden");
    if (!is_forbidden)
        apply_rows(call->backend, call->connection, rows);
    if (go_on(call, next_step(rows)))
        return;
    finish_message(call, is_forbidden ? BACKEND_FORBIDDEN : BACKEND_OK);
}

static struct message_call *new_call(struct backend *backend, const struct backend_message *message,
                                     backend_message_done *done, void *ctx)
{
    struct message_call *call = mem_alloc(sizeof(*call));
    struct connection *connection = message->connection;

    call->backend = backend;
    call->connection = connection;
    call->done = done;
    call->ctx = ctx;
    snprintf(call->route_key, sizeof(call->route_key), "%s", message->route_key);
    snprintf(call->request_id, sizeof(call->request_id), "%s", message->request_id);
    snprintf(call->message_id, sizeof(call->message_id), "%s", message->message_id);
    snprintf(call->connected_at, sizeof(call->connected_at), "%lld",
             (long long)connection->connected_at_ms);
    call->body = mem_strndup(message->body, message->body_len);
    call->token = mem_strdup(message->token);
    if (connection->in_flight++ == 0)
        connection->slot = store_pick_slot(backend->env.store);
    backend->env.metrics->events_in_flight++;
    return call;
}

static void send_call(struct message_call *call)
{
    const char *params[MESSAGE_PARAMS];
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = call->connection->slot,
        .name = "handle_message",
        .sql = "select " RESULT_COLUMNS " from switchboard.handle_message($1, $2, $3, $4, $5, $6,"
               " $7, $8, $9, $10, $11)",
        .params = params,
        .param_count = MESSAGE_PARAMS,
    };

    fill_message_params(call, params);
    store_call(call->backend->env.store, &query, on_message_handled, call);
}

void backend_message(struct backend *backend, const struct backend_message *message,
                     backend_message_done *done, void *ctx)
{
    send_call(new_call(backend, message, done, ctx));
}

void backend_refuse(struct backend *backend, const struct backend_message *message,
                    const struct backend_refusal *refusal, backend_message_done *done, void *ctx)
{
    handle_error(new_call(backend, message, done, ctx), refusal->code, refusal->text);
}

/* ---- life ---- */

static char *write_routes(const struct config *config)
{
    struct buf routes;

    buf_init(&routes, SIZE_MAX);
    pgarray_begin(&routes);
    pgarray_add_list(&routes, config->routes);
    pgarray_add_list(&routes, config->profile);
    pgarray_end(&routes);
    return buf_take(&routes);
}

struct backend *backend_create(const struct backend_env *env)
{
    struct backend *backend = mem_alloc(sizeof(*backend));

    backend->env = *env;
    backend->routes = write_routes(env->config);
    backend->connects = connect_queue_create(backend);
    backend->disconnects = disconnect_queue_create(backend);
    return backend;
}

void backend_free(struct backend *backend)
{
    connect_queue_free(backend->connects);
    disconnect_queue_free(backend->disconnects);
    free(backend->routes);
    free(backend->endpoint);
    free(backend);
}

void backend_set_endpoint(struct backend *backend, const char *endpoint)
{
    if (backend->endpoint && strcmp(backend->endpoint, endpoint) == 0)
        return;
    free(backend->endpoint);
    backend->endpoint = mem_strdup(endpoint);
    backend->env.endpoint = backend->endpoint;
}

const char *backend_routes(const struct backend *backend)
{
    return backend->routes;
}

void backend_set_other_nodes(struct backend *backend, size_t count)
{
    backend->other_nodes = count;
}

size_t backend_backlog(const struct backend *backend)
{
    return disconnect_queue_len(backend->disconnects);
}

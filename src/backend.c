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
    backend->messages = message_queue_create(backend);
    backend->connects = connect_queue_create(backend);
    backend->disconnects = disconnect_queue_create(backend);
    return backend;
}

void backend_free(struct backend *backend)
{
    message_queue_free(backend->messages);
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

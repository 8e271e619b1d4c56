/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $disconnect, touching, and registering again after an outage: array calls on the control lane.
 *
 * A disconnect is kept until the database has taken it.  Rows that another transaction holds are
 * left for later instead of waited for; a $disconnect route that fails costs only itself, the row
 * is deactivated without it.
 */
#include "backend_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pgarray.h"
#include "profile.h"
#include "store.h"

enum { LATER_MS = 250, RESTORE_ROWS = 256 };

struct disconnect {
    struct disconnect *next;
    char id[FOREIGN_ID_BYTES];
    char request_id[FOREIGN_ID_BYTES];
    int code;
    char reason[CLOSE_REASON_BYTES];
    int64_t not_before_ms; /* loop time */
    bool is_alone;         /* failed in company */
    bool is_without_route; /* failed alone: only the row */
};

struct disconnect_batch {
    struct disconnect_queue *queue;
    bool is_without_route;
    size_t count;
    struct disconnect *items[];
};

struct touch {
    char id[FOREIGN_ID_BYTES];
    int64_t at_ms;
};

struct disconnect_queue {
    struct backend *backend;
    struct disconnect *first;
    struct disconnect **last;
    size_t len; /* waiting and under way */
    bool is_busy;
    struct touch *touches; /* batch_rows of them */
    size_t touch_count;
    bool is_touch_busy;
    struct deferred deferred;
    struct timer *timer;
};

/* ---- the queue ---- */

static void enqueue(struct disconnect_queue *queue, struct disconnect *item)
{
    item->next = NULL;
    *queue->last = item;
    queue->last = &item->next;
}

static void wake_queue(struct disconnect_queue *queue)
{
    loop_at_end_of_turn(queue->backend->env.loop, &queue->deferred);
}

void disconnect_queue_add(struct disconnect_queue *queue, const char *connection_id, int code,
                          const char *reason, const char *request_id)
{
    struct disconnect *item = mem_alloc(sizeof(*item));

    snprintf(item->id, sizeof(item->id), "%s", connection_id);
    snprintf(item->request_id, sizeof(item->request_id), "%s", request_id);
    snprintf(item->reason, sizeof(item->reason), "%s", reason);
    item->code = code;
    enqueue(queue, item);
    queue->len++;
    wake_queue(queue);
}

size_t disconnect_queue_len(const struct disconnect_queue *queue)
{
    return queue->len + (queue->is_touch_busy || queue->touch_count > 0 ? 1 : 0);
}

/* ---- answers ---- */

static void finish(struct disconnect_queue *queue, struct disconnect *item)
{
    queue->len--;
    free(item);
}

static void try_later(struct disconnect_queue *queue, struct disconnect *item)
{
    item->not_before_ms = loop_now_ms(queue->backend->env.loop) + LATER_MS;
    enqueue(queue, item);
}

static void on_batch_failed(struct disconnect_batch *batch, const struct error *err)
{
    struct disconnect_queue *queue = batch->queue;

    if (err->status != UNAVAILABLE)
        log_warn("disconnect.failed", "connections=%zu sqlstate=%s error=%s next=retrying",
                 batch->count, err->sqlstate, log_quote(err->text));
    for (size_t i = 0; i < batch->count; i++) {
        struct disconnect *item = batch->items[i];

        if (err->status != UNAVAILABLE && batch->count == 1)
            item->is_without_route = true;
        if (err->status != UNAVAILABLE)
            item->is_alone = true;
        try_later(queue, item);
    }
}

static struct disconnect *item_of(const struct disconnect_batch *batch, const struct rows *rows,
                                  size_t row)
{
    int64_t index = rows_int(rows, row, RESULT_INDEX);

    return index >= 0 && (size_t)index < batch->count ? batch->items[index] : NULL;
}

static void log_disconnect_error(struct backend *backend, const struct disconnect *item,
                                 const struct rows *rows, size_t row)
{
    const char *sqlstate = rows_text(rows, row, RESULT_TARGET);
    const char *text = rows_text(rows, row, RESULT_PAYLOAD);
    struct route_failure failure = {.route_key = "$disconnect",
                                    .request_id = item->request_id,
                                    .sqlstate = sqlstate ? sqlstate : "",
                                    .text = text ? text : ""};

    log_route_failure(backend, &failure);
}

static void apply_row(struct disconnect_batch *batch, const struct rows *rows, size_t row,
                      struct relay *relay)
{
    struct backend *backend = batch->queue->backend;
    const struct disconnect *item = item_of(batch, rows, row);

    if (item && result_is(rows, row, "locked")) {
        int64_t index = rows_int(rows, row, RESULT_INDEX);

        try_later(batch->queue, batch->items[index]);
        batch->items[index] = NULL;
    } else if (item && result_is(rows, row, "error")) {
        backend->env.metrics->route_errors++;
        log_disconnect_error(backend, item, rows, row);
    } else if (item && result_is(rows, row, "audit")) {
        log_audit(item->id, rows, row);
    } else {
        backend_apply_row(backend, NULL, rows, row, relay);
    }
}

static void on_deregistered(void *ctx, const struct error *err, const struct rows *rows)
{
    struct disconnect_batch *batch = ctx;
    struct disconnect_queue *queue = batch->queue;
    struct relay relay;

    queue->is_busy = false;
    if (err) {
        on_batch_failed(batch, err);
    } else {
        relay_begin(&relay);
        for (size_t row = 0; row < rows_count(rows); row++)
            apply_row(batch, rows, row, &relay);
        relay_send(&relay, queue->backend);
        for (size_t i = 0; i < batch->count; i++)
            if (batch->items[i])
                finish(queue, batch->items[i]);
    }
    free(batch);
    if (queue->first)
        wake_queue(queue);
}

/* ---- sending ---- */

static bool may_join(const struct disconnect_batch *batch, const struct disconnect *item)
{
    return batch->count == 0 || (!item->is_alone && !batch->items[0]->is_alone);
}

/* Takes what is due, in order; what waits for a lock stays and does not hold up the others. */
static struct disconnect_batch *take_batch(struct disconnect_queue *queue)
{
    size_t most = (size_t)queue->backend->env.config->batch_rows;
    int64_t now = loop_now_ms(queue->backend->env.loop);
    struct disconnect_batch *batch = mem_alloc(sizeof(*batch) + most * sizeof(*batch->items));
    struct disconnect **link = &queue->first;

    batch->queue = queue;
    while (*link && batch->count < most) {
        struct disconnect *item = *link;

        if (item->not_before_ms > now || !may_join(batch, item)) {
            link = &item->next;
            continue;
        }
        *link = item->next;
        if (!*link)
            queue->last = link;
        batch->items[batch->count++] = item;
        batch->is_without_route = item->is_without_route;
    }
    return batch;
}

static void send_disconnects(struct disconnect_queue *queue, struct disconnect_batch *batch)
{
    struct buf columns[4];
    const struct backend *backend = queue->backend;
    bool has_route = !batch->is_without_route && !backend->env.skips_disconnect_route;
    const char *params[5] = {has_route ? backend->routes : "{}"};
    struct store_query query = {
        .lane = STORE_CONTROL,
        .name = "deregister_connections",
        .sql =
            "select " RESULT_COLUMNS " from switchboard.deregister_connections($1, $2, $3, $4, $5)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        buf_init(&columns[i], SIZE_MAX);
        pgarray_begin(&columns[i]);
    }
    for (size_t i = 0; i < batch->count; i++) {
        pgarray_add(&columns[0], batch->items[i]->id);
        pgarray_add_int(&columns[1], batch->items[i]->code);
        pgarray_add(&columns[2], batch->items[i]->reason);
        pgarray_add(&columns[3], batch->items[i]->request_id);
    }
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        pgarray_end(&columns[i]);
        params[1 + i] = buf_str(&columns[i]);
    }
    queue->is_busy = true;
    store_call(queue->backend->env.store, &query, on_deregistered, batch);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        buf_done(&columns[i]);
}

static void on_touched(void *ctx, const struct error *err, const struct rows *rows)
{
    struct disconnect_queue *queue = ctx;

    queue->is_touch_busy = false;
    if (err) {
        if (err->status != UNAVAILABLE)
            log_warn("touch.failed", "sqlstate=%s error=%s next=dropped", err->sqlstate,
                     log_quote(err->text));
    } else if (rows_count(rows) > 0) {
        queue->backend->env.metrics->touches += (uint64_t)rows_int(rows, 0, 0);
    }
    if (queue->touch_count > 0)
        wake_queue(queue);
}

static void send_touches(struct disconnect_queue *queue)
{
    const struct profile_settings *settings = queue->backend->env.settings;
    struct buf ids, times;
    char renew[24];
    const char *params[3];
    struct store_query query = {
        .lane = STORE_CONTROL,
        .name = "touch_connections",
        .sql = "select switchboard.touch_connections($1, $2, $3)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    buf_init(&ids, SIZE_MAX);
    buf_init(&times, SIZE_MAX);
    pgarray_begin(&ids);
    pgarray_begin(&times);
    for (size_t i = 0; i < queue->touch_count; i++) {
        pgarray_add(&ids, queue->touches[i].id);
        pgarray_add_int(&times, queue->touches[i].at_ms);
    }
    pgarray_end(&ids);
    pgarray_end(&times);
    params[0] = buf_str(&ids);
    params[1] = buf_str(&times);
    snprintf(renew, sizeof(renew), "%lld",
             settings->renew_ttl ? (long long)settings->connection_ttl_s * 1000 : 0);
    params[2] = renew;
    queue->touch_count = 0;
    queue->is_touch_busy = true;
    store_call(queue->backend->env.store, &query, on_touched, queue);
    buf_done(&ids);
    buf_done(&times);
}

static void send_waiting(void *ctx)
{
    struct disconnect_queue *queue = ctx;
    struct disconnect_batch *batch;

    if (!store_is_up(queue->backend->env.store, STORE_CONTROL)) {
        queue->touch_count = 0; /* the next activity touches again */
        return;
    }
    if (queue->touch_count > 0 && !queue->is_touch_busy)
        send_touches(queue);
    if (!queue->first || queue->is_busy)
        return;
    batch = take_batch(queue);
    if (batch->count > 0) {
        send_disconnects(queue, batch);
    } else {
        free(batch);
        loop_timer_set(queue->timer, LATER_MS, 0);
    }
}

/* ---- called from outside ---- */

void backend_disconnect(struct backend *backend, const struct connection *connection,
                        const char *request_id)
{
    disconnect_queue_add(backend->disconnects, connection->id, connection->close_code,
                         connection->close_reason, request_id);
}

bool backend_touch(struct backend *backend, const char *connection_id, int64_t at_ms)
{
    struct disconnect_queue *queue = backend->disconnects;
    struct touch *touch;

    if (queue->touch_count == (size_t)backend->env.config->batch_rows)
        return false;
    touch = &queue->touches[queue->touch_count++];
    snprintf(touch->id, sizeof(touch->id), "%s", connection_id);
    touch->at_ms = at_ms;
    wake_queue(queue);
    return true;
}

/* ---- after an outage ---- */

static void on_restored(void *ctx, const struct error *err, const struct rows *rows)
{
    struct backend *backend = ctx;

    if (err)
        backend->is_restore_due = true;
    if (err && err->status != UNAVAILABLE)
        log_error("restore.failed", "sqlstate=%s error=%s", err->sqlstate, log_quote(err->text));
    else if (!err && rows_count(rows) > 0)
        log_info("restore.done", "connections_registered_again=%lld",
                 (long long)rows_int(rows, 0, 0));
}

static void send_restore(struct backend *backend, struct buf *list)
{
    char ttl[24];
    const char *params[] = {backend->env.node_id, backend->env.endpoint, ttl, NULL};
    struct store_query query = {
        .lane = STORE_CONTROL,
        .name = "restore_connections",
        .sql = "select switchboard.restore_connections($1, $2, $3, $4)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    json_close(list, ']');
    snprintf(ttl, sizeof(ttl), "%lld", (long long)backend->env.settings->connection_ttl_s * 1000);
    params[3] = buf_str(list);
    store_call(backend->env.store, &query, on_restored, backend);
    buf_clear(list);
    json_open(list, NULL, '[');
}

static void add_topic(void *ctx, const char *topic)
{
    json_str(ctx, NULL, topic);
}

static void add_connection(struct buf *list, const struct backend *backend,
                           const struct connection *connection)
{
    json_open(list, NULL, '{');
    json_str(list, "connectionId", connection->id);
    json_str(list, "stage", backend->env.config->stage);
    json_str(list, "sourceIp", connection->source_ip);
    json_str(list, "userAgent", connection->user_agent);
    json_int(list, "connectedAt", connection->connected_at_ms);
    json_open(list, "topics", '[');
    connection_each_topic(connection, add_topic, list);
    json_close(list, ']');
    json_close(list, '}');
}

bool backend_restore_failed(const struct backend *backend)
{
    return backend->is_restore_due;
}

void backend_restore(struct backend *backend)
{
    const struct connection *connection = connections_first(backend->env.connections);
    struct buf list;
    size_t count = 0;

    backend->is_restore_due = false;
    buf_init(&list, SIZE_MAX);
    json_open(&list, NULL, '[');
    for (; connection; connection = connections_next(connection)) {
        if (connection->state != CONNECTION_OPEN && connection->state != CONNECTION_CLOSING)
            continue;
        add_connection(&list, backend, connection);
        if (++count % RESTORE_ROWS == 0)
            send_restore(backend, &list);
    }
    if (count % RESTORE_ROWS != 0)
        send_restore(backend, &list);
    buf_done(&list);
    wake_queue(backend->disconnects);
}

/* ---- life ---- */

static void on_timer(void *ctx)
{
    wake_queue(ctx);
}

struct disconnect_queue *disconnect_queue_create(struct backend *backend)
{
    struct disconnect_queue *queue = mem_alloc(sizeof(*queue));

    queue->backend = backend;
    queue->last = &queue->first;
    queue->touches = mem_alloc((size_t)backend->env.config->batch_rows * sizeof(*queue->touches));
    queue->deferred.fn = send_waiting;
    queue->deferred.ctx = queue;
    queue->timer = loop_timer(backend->env.loop, LATER_MS, 0, on_timer, queue);
    return queue;
}

void disconnect_queue_free(struct disconnect_queue *queue)
{
    while (queue->first) {
        struct disconnect *item = queue->first;

        queue->first = item->next;
        free(item);
    }
    loop_timer_stop(queue->timer);
    loop_undefer(queue->backend->env.loop, &queue->deferred);
    free(queue->touches);
    free(queue);
}

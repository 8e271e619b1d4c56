/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $connect and registering.
 *
 * No waiting window: a batch goes out when the one before was answered, and what arrived meanwhile
 * is that batch.  When the one before takes long (a slow $connect route), the next does not wait
 * for it but goes down another database connection, so that a slow client is slow alone.
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
#include "profile.h"
#include "replay.h"
#include "store.h"

enum {
    PATIENCE_MS = 20, /* a batch that is older no longer holds up the next */
    TICK_MS = 20,     /* while something waits */
    BATCH_BYTES = 4 * 1024 * 1024
};

struct connect_request {
    struct connect_request *next;
    struct connection *connection;
    char *event;
    size_t len;
    int64_t deadline_ms; /* to be sent by then */
    bool is_alone;       /* failed in company: goes out as a batch of one */
    bool is_answered;
    backend_connect_done *done;
    void *ctx;
};

struct connect_batch {
    struct connect_queue *queue;
    struct connect_batch *next;
    int64_t sent_ms;
    size_t count;
    struct connect_request *requests[];
};

struct connect_queue {
    struct backend *backend;
    struct connect_request *first;
    struct connect_request **last;
    struct connect_batch *in_flight;
    size_t in_flight_count;
    struct deferred deferred;
    struct timer *timer;
    bool is_ticking;
};

/* ---- answering ---- */

static void answer(struct connect_request *request, int status, const char *body,
                   const char *subprotocol)
{
    if (request->is_answered)
        return;
    request->is_answered = true;
    request->done(request->ctx, status, body, subprotocol);
}

static void free_request(struct connect_request *request)
{
    free(request->event);
    free(request);
}

static void wake_queue(struct connect_queue *queue)
{
    loop_at_end_of_turn(queue->backend->env.loop, &queue->deferred);
}

static void put_back_alone(struct connect_queue *queue, struct connect_request *request)
{
    const struct backend_env *env = &queue->backend->env;

    request->is_alone = true;
    request->deadline_ms = loop_now_ms(env->loop) + env->config->database_wait_ms;
    request->next = queue->first;
    queue->first = request;
    if (!request->next)
        queue->last = &request->next;
}

/* Whether the batch was committed is not known: the clients are told to try again, and what may
 * have been registered is deregistered. */
static void fail_unknown(struct connect_queue *queue, struct connect_request *request)
{
    char request_id[REQUEST_ID_BYTES];
    char id[FOREIGN_ID_BYTES];

    snprintf(id, sizeof(id), "%s", request->connection->id);
    id_mint_request(request_id);
    answer(request, 503, NULL, NULL);
    disconnect_queue_add(queue->backend->disconnects, id, 1006, "Registration was interrupted",
                         request_id);
    free_request(request);
}

/* The id is in the event and is needed here only. */
static void log_connect_failure(struct backend *backend, const struct connect_request *request,
                                const char *sqlstate, const char *text)
{
    static const char *const path[] = {"requestContext", "requestId"};
    char request_id[FOREIGN_ID_BYTES] = "-";
    const char *value;
    size_t len;
    struct route_failure failure = {.connection = request->connection,
                                    .route_key = "$connect",
                                    .request_id = request_id,
                                    .sqlstate = sqlstate ? sqlstate : "",
                                    .text = text ? text : ""};

    if (json_lookup(request->event, request->len, path, ARRAY_LEN(path), &value, &len) ==
            JSON_LOOKUP_PLAIN &&
        len < sizeof(request_id))
        snprintf(request_id, sizeof(request_id), "%.*s", (int)len, value);
    log_route_failure(backend, &failure);
}

static void fail_alone(struct connect_queue *queue, struct connect_request *request,
                       const struct error *err)
{
    struct metrics *metrics = queue->backend->env.metrics;

    log_connect_failure(queue->backend, request, err->sqlstate, err->text);
    if (err->status == LIMIT)
        metrics->route_timeouts++;
    else
        metrics->route_errors++;
    answer(request, err->status == LIMIT ? 504 : 502, NULL, NULL);
    free_request(request);
}

/* One event must never touch another: a batch that failed as a whole is tried again one by one. */
static void on_batch_failed(struct connect_batch *batch, const struct error *err)
{
    struct connect_queue *queue = batch->queue;

    for (size_t i = batch->count; i-- > 0;) {
        if (err->status == UNAVAILABLE)
            fail_unknown(queue, batch->requests[i]);
        else if (batch->count > 1)
            put_back_alone(queue, batch->requests[i]);
        else
            fail_alone(queue, batch->requests[i], err);
    }
}

static const char *read_subprotocol(const char *payload, struct json **json)
{
    const char *subprotocol = NULL;

    if (!payload || json_parse(payload, strlen(payload), json, NULL) != OK)
        return NULL;
    if (json_opt_str(*json, "subprotocol", &subprotocol, NULL) != OK)
        return NULL;
    return subprotocol;
}

static void answer_accepted(struct connect_request *request, const char *payload)
{
    struct json *json = NULL;
    const char *subprotocol = read_subprotocol(payload, &json);

    answer(request, 200, NULL, subprotocol);
    json_free(json);
}

static void answer_refused(struct connect_request *request, const char *status, const char *body)
{
    long code = status ? strtol(status, NULL, 10) : 0;

    answer(request, code >= 400 && code <= 599 ? (int)code : 502, body, NULL);
}

static void answer_error(struct connect_queue *queue, struct connect_request *request,
                         const struct rows *rows, size_t row)
{
    log_connect_failure(queue->backend, request, rows_text(rows, row, RESULT_TARGET),
                        rows_text(rows, row, RESULT_PAYLOAD));
    queue->backend->env.metrics->route_errors++;
    answer(request, 502, NULL, NULL);
}

static struct connect_request *request_of(const struct connect_batch *batch,
                                          const struct rows *rows, size_t row)
{
    int64_t index = rows_int(rows, row, RESULT_INDEX);

    return index >= 0 && (size_t)index < batch->count ? batch->requests[index] : NULL;
}

/* First every client learns its status, then deliveries go out: they belong behind the 101. */
static void on_batch_registered(struct connect_batch *batch, const struct rows *rows)
{
    struct connect_queue *queue = batch->queue;
    struct connect_request *request;
    struct relay relay;

    for (size_t row = 0; row < rows_count(rows); row++) {
        request = request_of(batch, rows, row);
        if (!request)
            continue;
        if (result_is(rows, row, "accept"))
            answer_accepted(request, rows_text(rows, row, RESULT_PAYLOAD));
        else if (result_is(rows, row, "refuse"))
            answer_refused(request, rows_text(rows, row, RESULT_TARGET),
                           rows_text(rows, row, RESULT_PAYLOAD));
        else if (result_is(rows, row, "error"))
            answer_error(queue, request, rows, row);
    }
    relay_begin(&relay);
    for (size_t row = 0; row < rows_count(rows); row++) {
        request = request_of(batch, rows, row);
        backend_apply_row(queue->backend, request ? request->connection : NULL, rows, row, &relay);
    }
    relay_send(&relay, queue->backend);
    for (size_t i = 0; i < batch->count; i++) {
        connection_release(batch->requests[i]->connection);
        answer(batch->requests[i], 502, NULL, NULL); /* the function forgot it */
        replay_settle(batch->requests[i]->connection);
        free_request(batch->requests[i]);
    }
}

static void unlink_batch(struct connect_queue *queue, struct connect_batch *batch)
{
    struct connect_batch **link = &queue->in_flight;

    while (*link != batch)
        link = &(*link)->next;
    *link = batch->next;
    queue->in_flight_count--;
}

static void on_registered(void *ctx, const struct error *err, const struct rows *rows)
{
    struct connect_batch *batch = ctx;
    struct connect_queue *queue = batch->queue;

    unlink_batch(queue, batch);
    if (err)
        on_batch_failed(batch, err);
    else
        on_batch_registered(batch, rows);
    free(batch);
    if (queue->first)
        wake_queue(queue);
}

/* ---- sending ---- */

static struct connect_batch *take_batch(struct connect_queue *queue, struct buf *events)
{
    size_t most = (size_t)queue->backend->env.config->batch_rows;
    struct connect_batch *batch = mem_alloc(sizeof(*batch) + most * sizeof(*batch->requests));

    batch->queue = queue;
    json_open(events, NULL, '[');
    while (queue->first && batch->count < most && events->len < BATCH_BYTES) {
        struct connect_request *request = queue->first;

        if (request->is_alone && batch->count > 0)
            break;
        queue->first = request->next;
        if (!queue->first)
            queue->last = &queue->first;
        json_raw(events, NULL, request->event, request->len);
        batch->requests[batch->count++] = request;
        if (request->is_alone)
            break;
    }
    json_close(events, ']');
    return batch;
}

static void send_batch(struct connect_queue *queue, int slot)
{
    const struct backend_env *env = &queue->backend->env;
    struct connect_batch *batch;
    struct buf events;
    char ttl[24];
    const char *params[] = {env->skips_connect_route ? "{}" : queue->backend->routes, env->node_id,
                            env->endpoint, ttl, NULL};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = slot,
        .name = "register_connections",
        .sql =
            "select " RESULT_COLUMNS " from switchboard.register_connections($1, $2, $3, $4, $5)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    buf_init(&events, SIZE_MAX); /* each event is bounded by max_head_bytes, their number by us */
    batch = take_batch(queue, &events);
    batch->sent_ms = loop_now_ms(env->loop);
    batch->next = queue->in_flight;
    queue->in_flight = batch;
    queue->in_flight_count++;
    env->metrics->register_batches++;
    snprintf(ttl, sizeof(ttl), "%lld", (long long)env->settings->connection_ttl_s * 1000);
    params[4] = buf_str(&events);
    store_call(env->store, &query, on_registered, batch);
    buf_done(&events);
}

/* Every batch under way is old, and there is a database connection to spare. */
static bool may_overtake(const struct connect_queue *queue)
{
    const struct backend_env *env = &queue->backend->env;

    if (queue->in_flight_count >= (size_t)env->config->database_pool_size)
        return false;
    for (const struct connect_batch *batch = queue->in_flight; batch; batch = batch->next)
        if (loop_now_ms(env->loop) - batch->sent_ms < PATIENCE_MS)
            return false;
    return true;
}

static void expire_waiting(struct connect_queue *queue)
{
    int64_t now = loop_now_ms(queue->backend->env.loop);

    while (queue->first && queue->first->deadline_ms <= now) {
        struct connect_request *request = queue->first;

        queue->first = request->next;
        if (!queue->first)
            queue->last = &queue->first;
        answer(request, 503, NULL, NULL);
        free_request(request);
    }
}

static void tick_while_waiting(struct connect_queue *queue)
{
    if (!queue->first && queue->is_ticking) {
        loop_timer_stop(queue->timer);
        queue->timer = NULL;
        queue->is_ticking = false;
    } else if (queue->first && !queue->is_ticking) {
        queue->timer =
            loop_timer(queue->backend->env.loop, TICK_MS, TICK_MS, queue->deferred.fn, queue);
        queue->is_ticking = true;
    }
}

static void send_waiting(void *ctx)
{
    struct connect_queue *queue = ctx;
    int slot;

    while (queue->first && (queue->in_flight_count == 0 || may_overtake(queue))) {
        slot = store_pick_slot(queue->backend->env.store);
        if (slot < 0)
            break;
        send_batch(queue, slot);
    }
    expire_waiting(queue);
    tick_while_waiting(queue);
}

void backend_connect(struct backend *backend, struct connection *connection, const char *event,
                     size_t len, backend_connect_done *done, void *ctx)
{
    struct connect_queue *queue = backend->connects;
    struct connect_request *request = mem_alloc(sizeof(*request));

    request->connection = connection;
    request->event = mem_strndup(event, len);
    request->len = len;
    request->deadline_ms = loop_now_ms(backend->env.loop) + backend->env.config->database_wait_ms;
    request->done = done;
    request->ctx = ctx;
    *queue->last = request;
    queue->last = &request->next;
    wake_queue(queue);
}

/* ---- life ---- */

struct connect_queue *connect_queue_create(struct backend *backend)
{
    struct connect_queue *queue = mem_alloc(sizeof(*queue));

    queue->backend = backend;
    queue->last = &queue->first;
    queue->deferred.fn = send_waiting;
    queue->deferred.ctx = queue;
    return queue;
}

void connect_queue_free(struct connect_queue *queue)
{
    while (queue->first) {
        struct connect_request *request = queue->first;

        queue->first = request->next;
        answer(request, 503, NULL, NULL);
        free_request(request);
    }
    loop_timer_stop(queue->timer);
    loop_undefer(queue->backend->env.loop, &queue->deferred);
    free(queue);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $connect and registering.
 *
 * No waiting window: a batch goes out when the one before was answered, and what arrived meanwhile
 * is that batch.  When the one before takes long (a slow $connect route), the next does not wait
 * for it but goes down another database connection, so that a slow client is slow alone.
 *
 * The headers are for $connect routes alone, and most of what a handshake has.  So they are not
 * sent while there is no such route, or one that does not read them (connect_headers in the
 * "$settings" of its schema); the database says so, and when that changes.
 */
#include "backend_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "http_head.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pgarray.h"
#include "profile.h"
#include "replay.h"
#include "store.h"

enum {
    PATIENCE_MS = 20, /* a batch that is older no longer holds up the next */
    TICK_MS = 20,     /* while something waits */
    BATCH_BYTES = 4 * 1024 * 1024,
    MOST_PARAMS = 13
};

struct connect_request {
    struct connect_request *next;
    struct connection *connection;
    char *event; /* another gateway's, JSON; NULL: */
    char *head;  /* of the request, as it came */
    size_t len;  /* of either */
    char *claims;
    char request_id[REQUEST_ID_BYTES];
    char trace_id[TRACE_ID_BYTES];
    int64_t deadline_ms; /* to be sent by then */
    bool is_alone;       /* failed in company: goes out as a batch of one */
    bool is_answered;
    backend_connect_done *done;
    void *ctx;
};

/* Of a call, as far as they are known. */
struct params {
    const char *values[MOST_PARAMS];
    size_t count;
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
    bool skips_headers; /* nobody read them when last asked */
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
    free(request->head);
    free(request->claims);
    free(request);
}

static void wake_queue(struct connect_queue *queue)
{
    loop_at_end_of_turn(queue->backend->env.loop, &queue->deferred);
}

static void put_back(struct connect_queue *queue, struct connect_request *request)
{
    const struct backend_env *env = &queue->backend->env;

    request->deadline_ms = loop_now_ms(env->loop) + env->config->database_wait_ms;
    request->next = queue->first;
    queue->first = request;
    if (!request->next)
        queue->last = &request->next;
}

static void put_back_alone(struct connect_queue *queue, struct connect_request *request)
{
    request->is_alone = true;
    put_back(queue, request);
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

    if (!request->event)
        snprintf(request_id, sizeof(request_id), "%s", request->request_id);
    else if (json_lookup(request->event, request->len, path, ARRAY_LEN(path), &value, &len) ==
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

/* There is a $connect route now, and it wants to see the headers: nothing has been done. */
static bool is_incomplete(const struct rows *rows)
{
    return rows_count(rows) == 1 && result_is(rows, 0, "headers");
}

static void put_batch_back(struct connect_batch *batch)
{
    batch->queue->skips_headers = false;
    for (size_t i = batch->count; i-- > 0;)
        put_back(batch->queue, batch->requests[i]);
}

/* First every client learns its status, then deliveries go out: they belong behind the 101. */
static void on_batch_registered(struct connect_batch *batch, const struct rows *rows)
{
    struct connect_queue *queue = batch->queue;
    struct connect_request *request;
    struct relay relay;
    bool is_accepted = false; /* who is not named */

    for (size_t row = 0; row < rows_count(rows); row++) {
        request = request_of(batch, rows, row);
        if (!request) {
            is_accepted = is_accepted || result_is(rows, row, "accepted");
            queue->skips_headers = queue->skips_headers || result_is(rows, row, "no_headers");
            continue;
        }
        if (result_is(rows, row, "accept"))
            answer_accepted(request, rows_text(rows, row, RESULT_PAYLOAD));
        else if (result_is(rows, row, "refuse"))
            answer_refused(request, rows_text(rows, row, RESULT_TARGET),
                           rows_text(rows, row, RESULT_PAYLOAD));
        else if (result_is(rows, row, "error"))
            answer_error(queue, request, rows, row);
    }
    for (size_t i = 0; is_accepted && i < batch->count; i++)
        answer(batch->requests[i], 200, NULL, NULL);
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
    else if (is_incomplete(rows))
        put_batch_back(batch);
    else
        on_batch_registered(batch, rows);
    free(batch);
    if (queue->first)
        wake_queue(queue);
}

/* ---- sending ---- */

static bool may_join(const struct connect_batch *batch, const struct connect_request *request)
{
    return batch->count == 0 ||
           (!request->is_alone && !batch->requests[0]->event == !request->event);
}

static struct connect_batch *take_batch(struct connect_queue *queue)
{
    size_t most = (size_t)queue->backend->env.config->batch_rows;
    struct connect_batch *batch = mem_alloc(sizeof(*batch) + most * sizeof(*batch->requests));
    size_t bytes = 0;

    batch->queue = queue;
    while (queue->first && batch->count < most && bytes < BATCH_BYTES &&
           may_join(batch, queue->first)) {
        struct connect_request *request = queue->first;

        queue->first = request->next;
        if (!queue->first)
            queue->last = &queue->first;
        bytes += request->len;
        batch->requests[batch->count++] = request;
        if (request->is_alone)
            break;
    }
    return batch;
}

static void call_register(struct connect_batch *batch, int slot, const char *sql, const char *name,
                          struct params params)
{
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = slot,
        .name = name,
        .sql = sql,
        .params = params.values,
        .param_count = params.count,
    };

    store_call(batch->queue->backend->env.store, &query, on_registered, batch);
}

/* Events as another gateway has written them. */
static void send_events(struct connect_batch *batch, int slot, struct params params)
{
    struct buf events;

    buf_init(&events, SIZE_MAX); /* each event is bounded by max_head_bytes, their number by us */
    json_open(&events, NULL, '[');
    for (size_t i = 0; i < batch->count; i++)
        json_raw(&events, NULL, batch->requests[i]->event, batch->requests[i]->len);
    json_close(&events, ']');
    params.values[params.count++] = buf_str(&events);
    call_register(batch, slot,
                  "select " RESULT_COLUMNS
                  " from switchboard.register_connections($1, $2, $3, $4, $5)",
                  "register_events", params);
    buf_done(&events);
}

/* The arrays of register_connections(), in the order of its parameters. */
enum connect_array {
    CONNECT_IDS,
    CONNECT_REQUESTS,
    CONNECT_TIMES,
    CONNECT_SOURCES,
    CONNECT_AGENTS,
    CONNECT_CLAIMS,
    CONNECT_QUERIES,
    CONNECT_HEADERS,
    CONNECT_ARRAYS
};

/* JSON; NULL when there is none. */
static const char *query_text(const struct http_head *head, struct buf *text)
{
    buf_clear(text);
    return event_write_query(text, head->query) ? buf_str(text) : NULL;
}

static const char *headers_text(const struct connect_queue *queue,
                                const struct connect_request *request, const struct http_head *head,
                                struct buf *text)
{
    const struct event_context context = {
        .source_ip = request->connection->source_ip,
        .trace_id = request->trace_id,
        .connected_at_ms = request->connection->connected_at_ms,
    };

    buf_clear(text);
    event_write_headers(text, &context, head, (int)queue->backend->env.config->port);
    return buf_str(text);
}

static void add_request(const struct connect_queue *queue, const struct connect_request *request,
                        struct buf arrays[CONNECT_ARRAYS], struct buf *text)
{
    const struct connection *connection = request->connection;
    struct http_head head;
    enum status st = http_head_parse(request->head, request->len, &head, NULL);

    assert(st == OK); /* it was parsed before */
    (void)st;
    pgarray_add(&arrays[CONNECT_IDS], connection->id);
    pgarray_add(&arrays[CONNECT_REQUESTS], request->request_id);
    pgarray_add_int(&arrays[CONNECT_TIMES], connection->connected_at_ms);
    pgarray_add(&arrays[CONNECT_SOURCES], connection->source_ip);
    pgarray_add(&arrays[CONNECT_AGENTS], connection->user_agent);
    pgarray_add(&arrays[CONNECT_CLAIMS], request->claims);
    pgarray_add(&arrays[CONNECT_QUERIES], query_text(&head, text));
    if (!queue->skips_headers)
        pgarray_add(&arrays[CONNECT_HEADERS], headers_text(queue, request, &head, text));
}

static void send_handshakes(struct connect_batch *batch, int slot, struct params params)
{
    struct connect_queue *queue = batch->queue;
    struct buf arrays[CONNECT_ARRAYS];
    struct buf text;

    params.values[params.count++] = queue->backend->env.config->stage;
    buf_init(&text, SIZE_MAX); /* a few times max_head_bytes, as all of it for each request */
    pgarrays_begin(arrays, CONNECT_ARRAYS);
    for (size_t i = 0; i < batch->count; i++)
        add_request(queue, batch->requests[i], arrays, &text);
    pgarrays_end(arrays, CONNECT_ARRAYS, params.values + params.count);
    params.count += CONNECT_ARRAYS;
    if (queue->skips_headers)
        params.values[params.count - 1] = NULL;
    call_register(batch, slot,
                  "select " RESULT_COLUMNS " from switchboard.register_connections($1, $2, $3, $4,"
                  " $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                  "register_connections", params);
    pgarrays_done(arrays, CONNECT_ARRAYS);
    buf_done(&text);
}

static void send_batch(struct connect_queue *queue, int slot)
{
    const struct backend_env *env = &queue->backend->env;
    struct connect_batch *batch = take_batch(queue);
    char ttl[24];
    struct params params = {
        .values = {env->skips_connect_route ? "{}" : queue->backend->routes, env->node_id,
                   env->endpoint, ttl},
        .count = 4,
    };

    batch->sent_ms = loop_now_ms(env->loop);
    batch->next = queue->in_flight;
    queue->in_flight = batch;
    queue->in_flight_count++;
    env->metrics->register_batches++;
    snprintf(ttl, sizeof(ttl), "%lld", (long long)env->settings->connection_ttl_s * 1000);
    if (batch->requests[0]->event)
        send_events(batch, slot, params);
    else
        send_handshakes(batch, slot, params);
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

void backend_connect(struct backend *backend, struct connection *connection,
                     const struct backend_handshake *handshake, backend_connect_done *done,
                     void *ctx)
{
    struct connect_queue *queue = backend->connects;
    struct connect_request *request = mem_alloc(sizeof(*request));

    request->connection = connection;
    if (handshake->json) {
        request->event = mem_strndup(handshake->json, handshake->json_len);
        request->len = handshake->json_len;
    } else {
        request->len = handshake->head->size;
        request->head = mem_strndup(handshake->head->method.data, request->len);
        request->claims = mem_strdup(handshake->claims);
        snprintf(request->request_id, sizeof(request->request_id), "%s", handshake->request_id);
        snprintf(request->trace_id, sizeof(request->trace_id), "%s", handshake->trace_id);
    }
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: each one is one call of its route.
 *
 * A lane is a database connection that runs events.  A lane without messages under way takes a
 * group of those that wait: no waiting window, what came meanwhile is the group.  In a group, each
 * message is a statement and a transaction of its own, but for neighbours that may share one
 * (backend_batch.c).
 *
 * Only routes that have been fast lately go in company, so that a slow one is slow alone.
 *
 * A connection's messages run in order: those that come while some of them are under way wait for
 * the answers.
 */
#include "backend_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"
#include "store.h"

enum {
    MESSAGE_PARAMS = 11,
    ERROR_PARAMS = MESSAGE_PARAMS + 2,
    MAX_STEPS = 100, /* a route that goes on for ever does not */
    MOST_ALONE = 8,  /* transactions in a row that one lane gets at a time */
    FAST_MS = 50,    /* a route that takes no longer may go in company, */
    HABIT_MS = 10000 /* for so long after it was seen to */
};

/* ---- habits ---- */

/* FNV-1a; names come from clients, who gain nothing by sharing a habit but to run alone. */
static struct habit *habit_of(struct message_queue *queue, const char *route_key)
{
    uint32_t hash = 2166136261U;

    for (const char *c = route_key; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    return &queue->habits[(hash ^ hash >> 16) & (MESSAGE_HABITS - 1)];
}

void message_queue_note_time(struct message_queue *queue, const char *route_key, int64_t took_ms)
{
    struct habit *habit = habit_of(queue, route_key);
    int64_t now = loop_now_ms(queue->backend->env.loop);

    if (took_ms <= FAST_MS)
        habit->fast_until_ms = now + HABIT_MS;
    else
        habit->alone_until_ms = now + MESSAGE_PENALTY_MS;
}

void message_queue_keep_alone(struct message_queue *queue, const char *route_key, int64_t for_ms)
{
    habit_of(queue, route_key)->alone_until_ms = loop_now_ms(queue->backend->env.loop) + for_ms;
}

/* With the messages of its own connection, which wait for it anyway. */
static bool may_share_at_home(struct message_queue *queue, const struct message_call *call)
{
    const struct backend_env *env = &queue->backend->env;
    const struct habit *habit = habit_of(queue, call->route_key);

    return *env->settings->shared_schemas && env->config->message_batch_rows > 1 &&
           !call->is_alone && !*call->refusal_code && call->steps == 0 &&
           habit->alone_until_ms <= loop_now_ms(env->loop);
}

static bool may_share(struct message_queue *queue, const struct message_call *call)
{
    return may_share_at_home(queue, call) &&
           habit_of(queue, call->route_key)->fast_until_ms > loop_now_ms(queue->backend->env.loop);
}

/* ---- the end of a message ---- */

static void wake_queue(struct message_queue *queue)
{
    loop_at_end_of_turn(queue->backend->env.loop, &queue->deferred);
}

static void make_ready(struct message_queue *queue, struct connection *connection)
{
    connection->ready_next = NULL;
    if (queue->last)
        queue->last->ready_next = connection;
    else
        queue->first = connection;
    queue->last = connection;
    for (const struct message_call *call = connection->waiting; call; call = call->next)
        queue->waiting++;
    wake_queue(queue);
}

static void leave_lane(struct message_queue *queue, const struct message_call *call)
{
    struct connection *connection = call->connection;

    if (call->lane >= 0 && queue->lane_count > 0 && --queue->in_flight[call->lane] == 0)
        wake_queue(queue);
    if (--connection->on_slot == 0 && connection->waiting)
        make_ready(queue, connection);
}

void message_call_finish(struct message_call *call, enum backend_result result)
{
    leave_lane(call->backend->messages, call);
    call->connection->in_flight--;
    call->backend->env.metrics->events_in_flight--;
    call->done(call->ctx, result);
    free(call->body);
    free(call->token);
    free(call->refusal_text);
    free(call);
}

static void apply_rows(struct backend *backend, struct connection *origin, const struct rows *rows)
{
    struct relay relay;

    relay_begin(&relay);
    for (size_t row = 0; row < rows_count(rows); row++)
        backend_apply_row(backend, origin, rows, row, &relay);
    relay_send(&relay, backend);
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
    message_call_finish(call, is_handled ? BACKEND_OK : BACKEND_ERROR);
}

/* The route's own schema may have a typed error for it ("$error"). */
static void handle_error(struct message_call *call, const char *code, const char *text)
{
    const char *params[ERROR_PARAMS];
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = call->lane,
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
        message_call_finish(call, BACKEND_ERROR);
        return;
    }
    log_route_failure(call->backend, &failure);
    if (err->status == LIMIT) {
        call->backend->env.metrics->route_timeouts++;
        message_call_finish(call, BACKEND_TIMEOUT);
        return;
    }
    call->backend->env.metrics->route_errors++;
    handle_error(call, err->sqlstate, err->text);
}

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
    message_call_send(call);
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
    message_queue_note_time(call->backend->messages, call->route_key,
                            loop_waited_ms(call->backend->env.loop) - call->sent_ms);
    is_forbidden = rows_count(rows) > 0 && result_is(rows, 0, "forbidden");
    if (!is_forbidden)
        apply_rows(call->backend, call->connection, rows);
    if (go_on(call, next_step(rows)))
        return;
    message_call_finish(call, is_forbidden ? BACKEND_FORBIDDEN : BACKEND_OK);
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
    call->lane = -1;
    snprintf(call->route_key, sizeof(call->route_key), "%s", message->route_key);
    snprintf(call->request_id, sizeof(call->request_id), "%s", message->request_id);
    snprintf(call->message_id, sizeof(call->message_id), "%s", message->message_id);
    snprintf(call->connected_at, sizeof(call->connected_at), "%lld",
             (long long)connection->connected_at_ms);
    call->body = mem_strndup(message->body, message->body_len);
    call->token = mem_strdup(message->token);
    connection->in_flight++;
    backend->env.metrics->events_in_flight++;
    return call;
}

void message_call_send(struct message_call *call)
{
    const char *params[MESSAGE_PARAMS];
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = call->lane,
        .name = "handle_message",
        .sql = "select " RESULT_COLUMNS " from switchboard.handle_message($1, $2, $3, $4, $5, $6,"
               " $7, $8, $9, $10, $11)",
        .params = params,
        .param_count = MESSAGE_PARAMS,
    };

    if (*call->refusal_code) {
        handle_error(call, call->refusal_code, call->refusal_text);
        return;
    }
    call->sent_ms = loop_waited_ms(call->backend->env.loop);
    fill_message_params(call, params);
    store_call(call->backend->env.store, &query, on_message_handled, call);
}

/* ---- groups ---- */

struct group {
    struct message_call **calls;
    size_t count, most;
    size_t alone, most_alone;
};

static bool is_full(const struct group *group)
{
    return group->count >= group->most || group->alone >= group->most_alone;
}

/* One that goes in company is not alone, even if that is its own connection's only. */
static bool counts_as_alone(struct message_queue *queue, const struct group *group,
                            const struct message_call *call)
{
    const struct message_call *before = group->count > 0 ? group->calls[group->count - 1] : NULL;

    if (may_share(queue, call))
        return false;
    return !before || before->connection != call->connection || !may_share_at_home(queue, call) ||
           !may_share_at_home(queue, before);
}

static void take_from(struct message_queue *queue, struct connection *connection, int lane,
                      struct group *group)
{
    while (
        connection->waiting && group->count < group->most &&
        (group->alone < group->most_alone || !counts_as_alone(queue, group, connection->waiting))) {
        struct message_call *call = connection->waiting;

        connection->waiting = call->next;
        if (!connection->waiting)
            connection->waiting_last = NULL;
        call->next = NULL;
        call->lane = lane;
        connection->slot = lane;
        connection->on_slot++;
        if (lane >= 0)
            queue->in_flight[lane]++;
        group->alone += counts_as_alone(queue, group, call);
        group->calls[group->count++] = call;
    }
}

/* What the group did not take of the last connection waits for the answers. */
static void take_group(struct message_queue *queue, int lane, struct group *group)
{
    while (queue->first && !is_full(group)) {
        struct connection *connection = queue->first;

        queue->first = connection->ready_next;
        if (!queue->first)
            queue->last = NULL;
        for (const struct message_call *call = connection->waiting; call; call = call->next)
            queue->waiting--;
        take_from(queue, connection, lane, group);
    }
}

/* How many from there on may be one call: neighbours that are all fast, or all of one connection.
 */
static size_t count_sharing(struct message_queue *queue, const struct group *group, size_t from)
{
    size_t fast = from;
    size_t home = from;

    while (fast < group->count && may_share(queue, group->calls[fast]))
        fast++;
    while (home < group->count && may_share_at_home(queue, group->calls[home]) &&
           group->calls[home]->connection == group->calls[from]->connection)
        home++;
    return (fast > home ? fast : home) - from;
}

static void send_group(struct message_queue *queue, const struct group *group)
{
    for (size_t i = 0, n; i < group->count; i += n) {
        n = count_sharing(queue, group, i);
        if (n > 1) {
            message_batch_send(queue, group->calls + i, n);
        } else {
            n = 1;
            message_call_send(group->calls[i]);
        }
    }
}

/* Bits of the lanes that have messages under way. */
static uint64_t busy_lanes(const struct message_queue *queue, size_t *idle_count)
{
    uint64_t busy = 0;

    *idle_count = 0;
    for (size_t i = 0; i < queue->lane_count; i++) {
        if (queue->in_flight[i] > 0)
            busy |= UINT64_C(1) << i;
        else
            ++*idle_count;
    }
    return busy;
}

/* Without a lane that is up the store answers, at the end of the turn. */
static void send_waiting(void *ctx)
{
    struct message_queue *queue = ctx;
    const struct backend_env *env = &queue->backend->env;
    struct group group = {.most = (size_t)env->config->message_batch_rows};

    if (!queue->first)
        return;
    group.calls = mem_alloc(group.most * sizeof(*group.calls));
    while (queue->first) {
        size_t idle_count;
        uint64_t busy = busy_lanes(queue, &idle_count);
        int lane = store_pick_slot_but(env->store, busy);

        if (lane < 0 && store_is_up(env->store, STORE_EVENT))
            break;
        group.count = 0;
        group.alone = 0;
        group.most_alone = idle_count > 0 ? (queue->waiting + idle_count - 1) / idle_count : 1;
        if (group.most_alone > MOST_ALONE)
            group.most_alone = MOST_ALONE;
        take_group(queue, lane, &group);
        send_group(queue, &group);
    }
    free(group.calls);
}

static void enqueue(struct message_queue *queue, struct message_call *call)
{
    struct connection *connection = call->connection;

    if (queue->lane_count == 0) {
        if (connection->on_slot++ == 0)
            connection->slot = store_pick_slot(queue->backend->env.store);
        call->lane = connection->slot;
        message_call_send(call);
        return;
    }
    if (connection->waiting)
        connection->waiting_last->next = call;
    else
        connection->waiting = call;
    connection->waiting_last = call;
    if (connection->on_slot > 0)
        return;
    if (connection->waiting == call)
        make_ready(queue, connection);
    else
        queue->waiting++;
}

void backend_message(struct backend *backend, const struct backend_message *message,
                     backend_message_done *done, void *ctx)
{
    enqueue(backend->messages, new_call(backend, message, done, ctx));
}

void backend_refuse(struct backend *backend, const struct backend_message *message,
                    const struct backend_refusal *refusal, backend_message_done *done, void *ctx)
{
    struct message_call *call = new_call(backend, message, done, ctx);

    snprintf(call->refusal_code, sizeof(call->refusal_code), "%s", refusal->code);
    call->refusal_text = mem_strdup(refusal->text);
    enqueue(backend->messages, call);
}

/* ---- life ---- */

struct message_queue *message_queue_create(struct backend *backend)
{
    struct message_queue *queue = mem_alloc(sizeof(*queue));

    queue->backend = backend;
    queue->lane_count = store_slot_count(backend->env.store);
    queue->deferred.fn = send_waiting;
    queue->deferred.ctx = queue;
    return queue;
}

void message_queue_free(struct message_queue *queue)
{
    loop_undefer(queue->backend->env.loop, &queue->deferred);
    while (queue->first) {
        struct connection *connection = queue->first;

        struct message_call *call = connection->waiting;

        queue->first = connection->ready_next;
        connection->waiting = NULL;
        connection->waiting_last = NULL;
        while (call) {
            struct message_call *next = call->next;

            connection->on_slot++;
            message_call_finish(call, BACKEND_ERROR);
            call = next;
        }
    }
    loop_undefer(queue->backend->env.loop, &queue->deferred);
    free(queue);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several messages in one transaction: neighbours in a group whose routes are in a schema that says
 * "shared_transactions" are one call of handle_messages().
 *
 * What they share is the commit and nothing else: when any of it fails, all of it is undone and
 * each runs again alone.
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
#include "pgarray.h"
#include "profile.h"
#include "store.h"

enum { BATCH_PARAMS = 12 };

struct message_batch {
    struct message_queue *queue;
    size_t count;
    int64_t sent_ms; /* loop_waited_ms() */
    size_t settled;  /* the calls before it are answered */
    struct message_call *calls[];
};

static void settle(struct message_call *call)
{
    if (call->is_alone || call->has_step)
        message_call_send(call);
    else
        message_call_finish(call, call->is_forbidden ? BACKEND_FORBIDDEN : BACKEND_OK);
}

/* In the order of the messages, because the clients see it. */
static void settle_before(struct message_batch *batch, size_t index)
{
    while (batch->settled < index && batch->settled < batch->count)
        settle(batch->calls[batch->settled++]);
}

static void apply_batch_row(struct message_batch *batch, const struct rows *rows, size_t row,
                            struct relay *relay)
{
    struct backend *backend = batch->queue->backend;
    int64_t index = rows_int(rows, row, RESULT_INDEX);
    struct message_call *call;

    if (index < 0 || (size_t)index >= batch->count) {
        backend_apply_row(backend, NULL, rows, row, relay);
        return;
    }
    settle_before(batch, (size_t)index);
    call = batch->calls[index];
    if (result_is(rows, row, "forbidden")) {
        call->is_forbidden = true;
    } else if (result_is(rows, row, "alone")) {
        call->is_alone = true;
        if (rows_text(rows, row, RESULT_TARGET))
            message_queue_keep_alone(batch->queue, call->route_key, MESSAGE_STRANGER_MS);
    } else if (result_is(rows, row, "then") && rows_text(rows, row, RESULT_TARGET)) {
        if (!call->has_step)
            snprintf(call->route_key, sizeof(call->route_key), "%s",
                     rows_text(rows, row, RESULT_TARGET));
        call->has_step = true;
        call->steps = 1;
    } else {
        backend_apply_row(backend, call->connection, rows, row, relay);
    }
}

static void on_batch_done(struct message_batch *batch, const struct rows *rows)
{
    struct message_queue *queue = batch->queue;
    int64_t took_ms = loop_waited_ms(queue->backend->env.loop) - batch->sent_ms;
    struct relay relay;

    for (size_t i = 0; i < batch->count; i++)
        message_queue_note_time(queue, batch->calls[i]->route_key, took_ms);
    relay_begin(&relay);
    for (size_t row = 0; row < rows_count(rows); row++)
        apply_batch_row(batch, rows, row, &relay);
    relay_send(&relay, queue->backend);
    settle_before(batch, batch->count);
}

/* All of it was undone: each gets its own chance, and its own error. */
static void on_batch_failed(struct message_batch *batch, const struct error *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct message_call *call = batch->calls[i];

        if (err->status == UNAVAILABLE) {
            message_call_finish(call, BACKEND_ERROR);
            continue;
        }
        message_queue_keep_alone(batch->queue, call->route_key, MESSAGE_PENALTY_MS);
        call->is_alone = true;
        message_call_send(call);
    }
}

static void on_batch_handled(void *ctx, const struct error *err, const struct rows *rows)
{
    struct message_batch *batch = ctx;

    if (err) {
        log_debug("messages.again", "count=%zu sqlstate=%s", batch->count, err->sqlstate);
        batch->queue->backend->env.metrics->message_batches_failed++;
        on_batch_failed(batch, err);
    } else {
        on_batch_done(batch, rows);
    }
    free(batch);
}

/* The arrays of handle_messages(), in the order of its parameters. */
enum batch_array {
    BATCH_KEYS,
    BATCH_CONNECTIONS,
    BATCH_REQUESTS,
    BATCH_MESSAGES,
    BATCH_SOURCES,
    BATCH_AGENTS,
    BATCH_CONNECTED,
    BATCH_BODIES,
    BATCH_TOKENS,
    BATCH_ARRAYS
};

static void add_to_arrays(const struct message_call *call, struct buf arrays[BATCH_ARRAYS])
{
    const char *texts[BATCH_ARRAYS] = {
        [BATCH_KEYS] = call->route_key,
        [BATCH_CONNECTIONS] = call->connection->id,
        [BATCH_REQUESTS] = call->request_id,
        [BATCH_MESSAGES] = call->message_id,
        [BATCH_SOURCES] = call->connection->source_ip,
        [BATCH_AGENTS] = call->connection->user_agent,
        [BATCH_CONNECTED] = call->connected_at,
        [BATCH_BODIES] = call->body,
        [BATCH_TOKENS] = call->token,
    };

    for (size_t i = 0; i < BATCH_ARRAYS; i++)
        pgarray_add(&arrays[i], texts[i]);
}

void message_batch_send(struct message_queue *queue, struct message_call **calls, size_t count)
{
    const struct backend_env *env = &queue->backend->env;
    struct message_batch *batch = mem_alloc(sizeof(*batch) + count * sizeof(*calls));
    struct buf arrays[BATCH_ARRAYS];
    const char *params[BATCH_PARAMS] = {queue->backend->routes, env->settings->shared_schemas,
                                        env->config->stage};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = calls[0]->lane,
        .name = "handle_messages",
        .sql = "select " RESULT_COLUMNS " from switchboard.handle_messages($1, $2, $3, $4, $5, $6,"
               " $7, $8, $9, $10, $11, $12)",
        .params = params,
        .param_count = BATCH_PARAMS,
    };

    batch->queue = queue;
    batch->count = count;
    batch->sent_ms = loop_waited_ms(env->loop);
    memcpy(batch->calls, calls, count * sizeof(*calls));
    pgarrays_begin(arrays, BATCH_ARRAYS); /* each message is bounded, and so is their number */
    for (size_t i = 0; i < count; i++)
        add_to_arrays(calls[i], arrays);
    pgarrays_end(arrays, BATCH_ARRAYS, params + BATCH_PARAMS - BATCH_ARRAYS);
    env->metrics->message_batches++;
    store_call(env->store, &query, on_batch_handled, batch);
    pgarrays_done(arrays, BATCH_ARRAYS);
}

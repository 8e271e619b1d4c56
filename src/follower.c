/* SPDX-License-Identifier: Apache-2.0 */
#include "follower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "delivery.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "replay.h"
#include "store.h"

enum { FOLLOW_ROWS = 500, BREATH_MS = 1 };

/* A publisher that did not notify may commit a little after the one that did, and rows that arrive
 * while another node sequences are nobody's yet: look again soon, then less and less often. */
static const int64_t look_again_ms[] = {5, 20, 80, 320};

struct follower {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct metrics *metrics;
    struct replays *replays;
    struct delivery_context delivery;
    char *own_sender; /* "node:<id>": what this node relayed, it has delivered itself already */
    int64_t seq;      /* the last row that was applied */
    char *since;      /* its created_at, for the pruning of partitions */
    bool is_started;
    bool is_busy;
    bool is_woken;   /* while busy */
    bool is_resting; /* until the timer: messages keep coming */
    size_t looks;    /* since something was last found */
    struct deferred deferred;
    struct timer *timer;
};

enum follow_column { SEQ, KIND, TARGET, PAYLOAD, EXCEPT, SENDER, CREATED_AT };

/* ---- applying the log ---- */

static void apply_membership(struct follower *follower, const char *kind, const char *connection_id,
                             const char *topic)
{
    struct connections *connections = follower->delivery.connections;
    struct connection *connection =
        connection_id ? connection_find(connections, connection_id) : NULL;

    if (!connection || !topic)
        return;
    if (strcmp(kind, "subscribe") == 0) {
        (void)connection_subscribe(connections, connection, topic);
        return;
    }
    replay_leave(connection, topic);
    (void)connection_unsubscribe(connections, connection, topic);
}

/* What publish() and its kin wrote: no relayed ephemeral delivery, no text of the management API
 * (which need not be JSON). */
static bool is_numbered(const struct delivery *delivery, const char *sender)
{
    return !sender && delivery->payload &&
           (delivery->kind == DELIVERY_TOPIC || delivery->kind == DELIVERY_USER ||
            delivery->kind == DELIVERY_ALL);
}

static bool is_own_relay(const struct follower *follower, const struct delivery *delivery,
                         const char *sender)
{
    bool is_to_many = delivery->kind == DELIVERY_USER || delivery->kind == DELIVERY_TOPIC ||
                      delivery->kind == DELIVERY_ALL;

    return is_to_many && sender && strcmp(sender, follower->own_sender) == 0;
}

static void apply_row(struct follower *follower, const struct rows *rows, size_t row)
{
    const char *kind = rows_text(rows, row, KIND);
    const char *sender = rows_text(rows, row, SENDER);
    struct delivery delivery = {
        .target = rows_text(rows, row, TARGET),
        .payload = rows_text(rows, row, PAYLOAD),
        .payload_len = rows_len(rows, row, PAYLOAD),
        .except = rows_text(rows, row, EXCEPT),
    };

    if (strcmp(kind, "subscribe") == 0 || strcmp(kind, "unsubscribe") == 0)
        apply_membership(follower, kind, delivery.target, delivery.payload);
    else if (!delivery_kind_parse(kind, &delivery.kind))
        log_warn("follower.unknown_kind", "seq=%lld kind=%s next=skipped",
                 (long long)rows_int(rows, row, SEQ), log_quote(kind));
    else if (!is_own_relay(follower, &delivery, sender)) {
        delivery.seq = is_numbered(&delivery, sender) ? rows_int(rows, row, SEQ) : 0;
        (void)deliver(&follower->delivery, NULL, &delivery);
    }
    follower->metrics->published_delivered++;
}

static void apply(struct follower *follower, const struct rows *rows)
{
    size_t count = rows_count(rows);

    for (size_t row = 0; row < count; row++)
        apply_row(follower, rows, row);
    if (count == 0)
        return;
    follower->seq = rows_int(rows, count - 1, SEQ);
    free(follower->since);
    follower->since = mem_strdup(rows_text(rows, count - 1, CREATED_AT));
    follower->metrics->log_seq = (uint64_t)follower->seq;
    replays_set_cursor(follower->replays, follower->seq);
}

/* ---- asking ---- */

static void look_again(struct follower *follower)
{
    int64_t delay = follower->config->poll_interval_ms;

    if (follower->looks < ARRAY_LEN(look_again_ms) && look_again_ms[follower->looks] < delay)
        delay = look_again_ms[follower->looks];
    follower->looks++;
    loop_timer_set(follower->timer, delay, 0);
}

/* A call costs nearly as much for one message as for a hundred. */
static void rest(struct follower *follower)
{
    follower->is_resting = true;
    loop_timer_set(follower->timer, BREATH_MS, 0);
}

static void on_followed(void *ctx, const struct error *err, const struct rows *rows)
{
    struct follower *follower = ctx;
    size_t count = 0;

    follower->is_busy = false;
    if (err && err->status != UNAVAILABLE) {
        follower->metrics->database_errors++;
        log_error("follower.failed", "error=%s sqlstate=%s next=retrying", log_quote(err->text),
                  err->sqlstate);
    }
    if (!err) {
        apply(follower, rows);
        count = rows_count(rows);
    }
    if (count > 0 || follower->is_woken)
        follower->looks = 0;
    if (count > 0 && count < FOLLOW_ROWS && follower->is_woken)
        rest(follower);
    else if (count == FOLLOW_ROWS || (follower->is_woken && !err))
        loop_at_end_of_turn(follower->loop, &follower->deferred);
    else
        look_again(follower);
    follower->is_woken = false;
}

static void follow(void *ctx)
{
    struct follower *follower = ctx;
    char seq[24];
    char max_rows[16];
    const char *params[] = {seq, follower->since, max_rows};
    struct store_query query = {
        .lane = STORE_FOLLOWER,
        .name = "follow_messages",
        .sql = "select seq, kind, target, payload, except_connection, sender, created_at"
               " from switchboard.follow_messages($1, $2, $3)",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    if (!follower->is_started || follower->is_busy)
        return;
    follower->is_busy = true;
    follower->is_resting = false;
    snprintf(seq, sizeof(seq), "%lld", (long long)follower->seq);
    snprintf(max_rows, sizeof(max_rows), "%d", FOLLOW_ROWS);
    store_call(follower->store, &query, on_followed, follower);
}

void follower_wake(struct follower *follower)
{
    if (follower->is_busy)
        follower->is_woken = true;
    else
        follower->looks = 0;
    if (!follower->is_resting)
        loop_at_end_of_turn(follower->loop, &follower->deferred);
}

/* ---- life ---- */

struct follower *follower_create(const struct follower_env *env)
{
    struct follower *follower = mem_alloc(sizeof(*follower));
    size_t size = strlen(env->node_id) + sizeof("node:");

    follower->loop = env->loop;
    follower->config = env->config;
    follower->store = env->store;
    follower->replays = env->replays;
    follower->metrics = env->metrics;
    follower->delivery = (struct delivery_context){env->connections, env->metrics};
    follower->own_sender = mem_alloc(size);
    snprintf(follower->own_sender, size, "node:%s", env->node_id);
    follower->deferred.fn = follow;
    follower->deferred.ctx = follower;
    follower->timer = loop_timer(env->loop, env->config->poll_interval_ms, 0, follow, follower);
    return follower;
}

void follower_start(struct follower *follower, int64_t seq, const char *since)
{
    follower->seq = seq;
    free(follower->since);
    follower->since = mem_strdup(since);
    follower->is_started = true;
    follower->metrics->log_seq = (uint64_t)seq;
    replays_set_cursor(follower->replays, seq);
    follower_wake(follower);
}

void follower_free(struct follower *follower)
{
    loop_undefer(follower->loop, &follower->deferred);
    loop_timer_stop(follower->timer);
    free(follower->since);
    free(follower->own_sender);
    free(follower);
}

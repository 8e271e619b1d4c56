/* SPDX-License-Identifier: Apache-2.0 */
#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "config.h"
#include "follower.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"
#include "store.h"

enum { RETRY_MS = 1000 };

struct cleanup {
    int64_t began_ms; /* the batch */
    int64_t expired, orphaned, deleted;
};

struct node {
    struct node_env env;
    bool is_registered;
    bool is_busy; /* a register or heartbeat call is under way */
    bool is_error_logged;
    bool is_loading; /* the settings */
    bool is_settings_error_logged;
    bool is_restore_due; /* the database was away since the last heartbeat */
    bool is_leaving;
    char *settings_text; /* as the database last sent them */
    struct cleanup cleanup;
    struct timer *lease_timer;
    struct timer *cleanup_timer;
};

static void call(struct node *node, enum store_lane lane, const char *sql,
                 const char *const params[], size_t count, pg_done *done)
{
    struct store_query query = {
        .lane = lane,
        .slot = STORE_ANY_SLOT,
        .sql = sql,
        .params = params,
        .param_count = count,
    };

    store_call(node->env.store, &query, done, node);
}

/* One line for each kind of trouble, not one for each try. */
static void log_trouble(struct node *node, const char *what, const struct error *err)
{
    if (err->status == UNAVAILABLE || node->is_error_logged)
        return;
    node->is_error_logged = true;
    node->env.metrics->database_errors++;
    log_error(what, "error=%s sqlstate=%s next=retrying hint=%s", log_quote(err->text),
              err->sqlstate, log_quote("has \"switchboard migrate\" been run on this database?"));
}

/* ---- registering ---- */

static void register_again_later(struct node *node)
{
    loop_timer_set(node->lease_timer, RETRY_MS, 0);
}

static void renew_later(struct node *node)
{
    loop_timer_set(node->lease_timer, node->env.config->lease_ms / 3, 0);
}

static void finish_register(struct node *node)
{
    node->is_registered = true;
    node->is_error_logged = false;
    log_info("node.registered", "node=%s name=%s", node->env.node_id,
             log_quote(node->env.node_name));
    node->env.on_registered(node->env.ctx);
}

/* ---- settings of the schemas ---- */

/* What is wrong is said once, and what holds goes on to hold. */
static void take_settings(struct node *node, const char *text)
{
    struct error err = {0};

    if (node->settings_text && strcmp(node->settings_text, text) == 0)
        return;
    free(node->settings_text);
    node->settings_text = mem_strdup(text);
    if (profile_settings_read(node->env.settings, text, node->env.config, &err) != OK) {
        log_error("node.settings_refused", "error=%s next=%s", log_quote(err.text),
                  log_quote("keeping the settings of before"));
        return;
    }
    log_info("node.settings", "settings=%s", log_quote(text));
    node->env.on_settings(node->env.ctx);
}

static void log_settings_error(struct node *node, const struct error *err)
{
    if (err->status == UNAVAILABLE || node->is_settings_error_logged)
        return;
    node->is_settings_error_logged = true;
    node->env.metrics->database_errors++;
    log_error("node.settings_failed", "error=%s sqlstate=%s next=retrying", log_quote(err->text),
              err->sqlstate);
}

/* The last step of registering, and later something beside the lease. */
static void on_settings(void *ctx, const struct error *err, const struct rows *rows)
{
    struct node *node = ctx;

    node->is_loading = false;
    if (err)
        log_settings_error(node, err);
    else
        node->is_settings_error_logged = false;
    if (!err && rows_count(rows) > 0 && rows_text(rows, 0, 0))
        take_settings(node, rows_text(rows, 0, 0));
    if (node->is_registered)
        return;
    node->is_busy = false;
    if (err) {
        register_again_later(node);
        return;
    }
    finish_register(node);
    renew_later(node);
}

/* Users write these functions: what they do must not hold up the lease, nor the log. */
static void load_settings(struct node *node)
{
    const char *params[] = {backend_routes(node->env.backend)};

    if (node->is_loading)
        return;
    node->is_loading = true;
    call(node, node->is_registered ? STORE_EVENT : STORE_FOLLOWER,
         "select switchboard.profile_settings($1)", params, ARRAY_LEN(params), on_settings);
}

/* ---- registering, going on ---- */

static void reap(struct node *node);

static void on_reaped(void *ctx, const struct error *err, const struct rows *rows)
{
    struct node *node = ctx;

    if (err) {
        node->is_busy = false;
        log_trouble(node, "node.reap_failed", err);
        register_again_later(node);
        return;
    }
    if (rows_int(rows, 0, 0) > 0) {
        node->env.metrics->cleanup_orphaned += (uint64_t)rows_int(rows, 0, 0);
        reap(node);
        return;
    }
    load_settings(node);
}

/* Rows of dead nodes (an earlier life of this one among them) are put right before anybody
 * connects. */
static void reap(struct node *node)
{
    char batch[24];
    const char *params[] = {batch};

    snprintf(batch, sizeof(batch), "%lld", (long long)node->env.config->cleanup_batch);
    call(node, STORE_FOLLOWER, "select switchboard.cleanup_nodes($1)", params, ARRAY_LEN(params),
         on_reaped);
}

static void on_register(void *ctx, const struct error *err, const struct rows *rows)
{
    struct node *node = ctx;

    if (err) {
        node->is_busy = false;
        log_trouble(node, "node.register_failed", err);
        register_again_later(node);
        return;
    }
    backend_set_other_nodes(node->env.backend, (size_t)rows_int(rows, 0, 2));
    follower_start(node->env.follower, rows_int(rows, 0, 0), rows_text(rows, 0, 1));
    reap(node);
}

/* ---- the lease ---- */

static void on_heartbeat(void *ctx, const struct error *err, const struct rows *rows)
{
    struct node *node = ctx;

    node->is_busy = false;
    if (err) {
        log_trouble(node, "node.heartbeat_failed", err);
        register_again_later(node);
        return;
    }
    node->is_error_logged = false;
    backend_set_other_nodes(node->env.backend, (size_t)rows_int(rows, 0, 1));
    if (rows_bool(rows, 0, 0))
        log_warn("node.lease_lost", "node=%s next=%s", node->env.node_id,
                 log_quote("registering every connection again"));
    if (rows_bool(rows, 0, 0) || backend_restore_failed(node->env.backend))
        node->is_restore_due = true;
    /* The lanes come back one by one, and registering again needs the other one. */
    if (node->is_restore_due && !store_is_up(node->env.store, STORE_CONTROL)) {
        register_again_later(node);
        return;
    }
    if (node->is_restore_due)
        backend_restore(node->env.backend);
    node->is_restore_due = false;
    renew_later(node);
    load_settings(node);
}

static void renew(void *ctx)
{
    struct node *node = ctx;
    char lease[24];
    const char *params[] = {node->env.node_id, node->env.node_name, node->env.endpoint, lease};

    if (node->is_busy || node->is_leaving || !store_is_up(node->env.store, STORE_FOLLOWER))
        return;
    node->is_busy = true;
    snprintf(lease, sizeof(lease), "%lld", (long long)node->env.config->lease_ms);
    if (node->is_registered)
        call(node, STORE_FOLLOWER,
             "select lease_was_lost, other_nodes from switchboard.heartbeat_node($1, $2, $3, $4)",
             params, ARRAY_LEN(params), on_heartbeat);
    else
        call(node, STORE_FOLLOWER,
             "select last_seq, last_at, other_nodes from switchboard.register_node($1, $2, $3, $4)",
             params, ARRAY_LEN(params), on_register);
}

void node_database_is_up(struct node *node, bool is_up)
{
    if (!is_up) {
        node->is_restore_due = node->is_registered;
        return;
    }
    follower_wake(node->env.follower);
    renew(node);
}

/* ---- leaving ---- */

static void on_leave(void *ctx, const struct error *err, const struct rows *rows)
{
    struct node *node = ctx;

    (void)rows;
    if (err)
        log_warn("node.leave_failed", "error=%s next=%s", log_quote(err->text),
                 log_quote("the lease runs out by itself"));
    node->env.on_left(node->env.ctx);
}

void node_leave(struct node *node)
{
    const char *params[] = {node->env.node_id};

    node->is_leaving = true;
    call(node, STORE_FOLLOWER, "select switchboard.leave_node($1)", params, ARRAY_LEN(params),
         on_leave);
}

/* ---- cleanup ---- */

static void clean_batch(struct node *node);

static void finish_cleanup(struct node *node, const struct error *err)
{
    struct cleanup *cleanup = &node->cleanup;
    int64_t next_ms = node->env.config->cleanup_interval_s * 1000;

    if (err && err->status != UNAVAILABLE)
        log_error("cleanup.failed", "error=%s sqlstate=%s next=%s", log_quote(err->text),
                  err->sqlstate, log_quote("at the next interval"));
    log_info("cleanup.done", "expired=%lld orphaned=%lld deleted=%lld", (long long)cleanup->expired,
             (long long)cleanup->orphaned, (long long)cleanup->deleted);
    *cleanup = (struct cleanup){0};
    loop_timer_set(node->cleanup_timer, next_ms, 0);
}

static void on_partitions(void *ctx, const struct error *err, const struct rows *rows)
{
    (void)rows;
    finish_cleanup(ctx, err);
}

static void maintain_partitions(struct node *node)
{
    char ahead[16], retention[24];
    const char *params[] = {ahead, retention};

    snprintf(ahead, sizeof(ahead), "%d", PARTITION_DAYS_AHEAD);
    snprintf(retention, sizeof(retention), "%lld",
             (long long)node->env.settings->message_retention_days);
    call(node, STORE_EVENT, "select created, dropped from switchboard.maintain_partitions($1, $2)",
         params, ARRAY_LEN(params), on_partitions);
}

static void on_cleaned(void *ctx, const struct error *err, const struct rows *rows)
{
    struct node *node = ctx;
    struct cleanup *cleanup = &node->cleanup;
    struct metrics *metrics = node->env.metrics;
    int64_t expired, orphaned, deleted;

    if (err) {
        finish_cleanup(node, err);
        return;
    }
    expired = rows_int(rows, 0, 0);
    orphaned = rows_int(rows, 0, 1);
    deleted = rows_int(rows, 0, 2);
    cleanup->expired += expired;
    cleanup->orphaned += orphaned;
    cleanup->deleted += deleted;
    metrics->cleanup_expired += (uint64_t)expired;
    metrics->cleanup_orphaned += (uint64_t)orphaned;
    metrics->cleanup_deleted += (uint64_t)deleted;
    if (expired > 0)
        follower_wake(node->env.follower); /* their sockets are closed through the log */
    if (expired + orphaned + deleted >= node->env.config->cleanup_batch)
        /* There is much to do: a pause as long as that took, for others want the database, too. */
        loop_timer_set(node->cleanup_timer, loop_now_ms(node->env.loop) - cleanup->began_ms + 1, 0);
    else if (expired + orphaned + deleted > 0)
        clean_batch(node);
    else
        maintain_partitions(node);
}

static void clean_batch(struct node *node)
{
    char batch[24], retention[24];
    const char *params[] = {batch, retention};

    snprintf(batch, sizeof(batch), "%lld", (long long)node->env.config->cleanup_batch);
    snprintf(retention, sizeof(retention), "%lld",
             (long long)node->env.config->inactive_retention_days);
    node->cleanup.began_ms = loop_now_ms(node->env.loop);
    call(node, STORE_EVENT,
         "select expired, orphaned, deleted from switchboard.cleanup_connections($1, $2)", params,
         ARRAY_LEN(params), on_cleaned);
}

static void on_cleanup_timer(void *ctx)
{
    struct node *node = ctx;

    if (node->is_registered && !node->is_leaving)
        clean_batch(node);
    else
        loop_timer_set(node->cleanup_timer, RETRY_MS, 0);
}

/* ---- life ---- */

struct node *node_create(const struct node_env *env)
{
    struct node *node = mem_alloc(sizeof(*node));

    node->env = *env;
    node->lease_timer = loop_timer(env->loop, RETRY_MS, 0, renew, node);
    if (env->config->cleanup_interval_s > 0)
        node->cleanup_timer = loop_timer(env->loop, env->config->cleanup_interval_s * 1000, 0,
                                         on_cleanup_timer, node);
    return node;
}

void node_free(struct node *node)
{
    loop_timer_stop(node->lease_timer);
    loop_timer_stop(node->cleanup_timer);
    free(node->settings_text);
    free(node);
}

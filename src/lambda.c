/* SPDX-License-Identifier: Apache-2.0 */
#include "lambda.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "config.h"
#include "database_auth.h"
#include "lambda_internal.h"
#include "log.h"
#include "sender.h"

enum {
    INIT_MS = 3000, /* for the database, at most: Lambda gives ten seconds for everything */
    WAIT_MS = 5000, /* for a database that is away, when an event has come */
    TELL_MS = 1000  /* for telling the client that a statement took too long */
};

bool lambda_is_here(void)
{
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");

    return api && *api;
}

void lambda_exit(struct lambda *lambda, const char *why)
{
    if (lambda->is_stopping)
        return;
    log_error("lambda.exit", "error=%s next=%s", log_quote(why),
              log_quote("the process ends, and Lambda starts another one"));
    lambda->exit_code = 1;
    loop_stop(lambda->loop);
}

/* ---- the database ---- */

static void go_on(struct lambda *lambda)
{
    loop_timer_stop(lambda->waiter);
    lambda->waiter = NULL;
    lambda->is_waiting = false;
    if (lambda->body)
        lambda_handle(lambda);
    else
        lambda_register(lambda);
}

static void on_lane(void *ctx, enum store_lane lane, bool is_up)
{
    struct lambda *lambda = ctx;

    if (lane == STORE_EVENT && is_up && lambda->is_waiting)
        go_on(lambda);
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
    (void)ctx; /* a single store listens to nothing */
    (void)channel;
    (void)payload;
}

static void on_waited(void *ctx)
{
    struct lambda *lambda = ctx;

    log_warn("lambda.no_database", "next=%s", log_quote("going on without it"));
    go_on(lambda);
}

static void wait_for_database(struct lambda *lambda, int64_t most_ms)
{
    lambda->is_waiting = true;
    lambda->waiter = loop_timer(lambda->loop, most_ms > 0 ? most_ms : 1, 0, on_waited, lambda);
}

/* The sandbox may have been frozen for hours: whether the connection still lives is asked first, so
 * that nothing has to be run twice. */
void lambda_begin(struct lambda *lambda)
{
    int64_t left_ms = lambda->deadline_ms - clock_mono_ms();
    int64_t reserve_ms = left_ms / 5 < TELL_MS ? left_ms / 5 : TELL_MS;

    store_limit(lambda->store, lambda->deadline_ms - reserve_ms);
    if (store_check(lambda->store))
        lambda_handle(lambda);
    else
        wait_for_database(lambda, left_ms / 2 < WAIT_MS ? left_ms / 2 : WAIT_MS);
}

/* ---- start and stop ---- */

static void on_signal(void *ctx, int signum)
{
    struct lambda *lambda = ctx;

    log_info("lambda.stopping", "signal=%d", signum);
    lambda->is_stopping = true;
    loop_stop(lambda->loop);
}

static enum status start_auth(struct lambda *lambda, struct error *err)
{
    enum status st = auth_create(lambda->config, &lambda->auth, err);

    if (st != OK)
        return st;
    profile_settings_init(&lambda->settings);
    st = profile_settings_override(&lambda->settings, lambda->config, err);
    if (st == OK)
        auth_start(lambda->auth, lambda->loop);
    return st;
}

/* Lambda Managed Instances send several events at a time; this runtime takes one. */
static enum status check_concurrency(struct error *err)
{
    const char *most = getenv("AWS_LAMBDA_MAX_CONCURRENCY");

    if (most && strtol(most, NULL, 10) > 1)
        return fail(err, INVALID, "AWS_LAMBDA_MAX_CONCURRENCY is %.20s: one event at a time", most);
    return OK;
}

static void create(struct lambda *lambda)
{
    static const struct store_events events = {on_lane, on_notify};
    struct sender_env sender = {
        .loop = lambda->loop, .config = lambda->config, .metrics = &lambda->metrics};
    struct stateless_env stateless = {.loop = lambda->loop,
                                      .config = lambda->config,
                                      .auth = lambda->auth,
                                      .settings = &lambda->settings,
                                      .metrics = &lambda->metrics,
                                      .claimer = lambda->claimer};
    uint64_t random;

    random_bytes(&random, sizeof(random));
    snprintf(lambda->claimer, sizeof(lambda->claimer), "lambda-%016llx",
             (unsigned long long)random);
    lambda->runtime = http_pool_create(lambda->loop);
    lambda->pool = sender.pool = http_pool_create(lambda->loop);
    http_pool_trust(lambda->pool, lambda->config->tls_ca_file);
    lambda->store = stateless.store =
        store_create_single(lambda->loop, lambda->config, &lambda->metrics, &events, lambda);
    lambda->sender = stateless.sender = sender_create(&sender);
    lambda->stateless = stateless_create(&stateless);
}

/* In the middle of an invocation, perhaps.  Closing the store answers every call that is open, and
 * so does freeing the sender; nobody is asked for anything new then. */
static void destroy(struct lambda *lambda)
{
    lambda->is_stopping = true;
    loop_timer_stop(lambda->waiter);
    lambda->waiter = NULL;
    lambda->is_waiting = false;
    stateless_close(lambda->stateless);
    store_close(lambda->store);
    loop_settle(lambda->loop);
    sender_free(lambda->sender);
    loop_settle(lambda->loop);
    stateless_free(lambda->stateless);
    store_free(lambda->store);
    http_pool_free(lambda->pool);
    http_pool_free(lambda->runtime);
    auth_free(lambda->auth);
    if (lambda->has_event)
        incoming_done(&lambda->event);
    free(lambda->body);
    loop_free(lambda->loop);
}

int lambda_run(const struct config *config)
{
    struct lambda lambda = {.config = config, .is_first = true};
    struct error err = {0};

    lambda.loop = loop_create();
    if (http_client_setup(&err) != OK || check_concurrency(&err) != OK ||
        database_auth_check(config, &err) != OK || start_auth(&lambda, &err) != OK) {
        log_error("lambda.init_failed", "error=%s", log_quote(err.text));
        lambda_fail_init("Runtime.BadConfiguration", err.text);
        auth_free(lambda.auth);
        loop_free(lambda.loop);
        return 1;
    }
    create(&lambda);
    loop_on_signal(lambda.loop, SIGTERM, on_signal, &lambda);
    loop_on_signal(lambda.loop, SIGINT, on_signal, &lambda);
    wait_for_database(&lambda, config->database_connect_timeout_ms < INIT_MS
                                   ? config->database_connect_timeout_ms
                                   : INIT_MS);
    loop_run(lambda.loop);
    destroy(&lambda);
    http_client_done();
    return lambda.exit_code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend_serve.c - wires the modules of `switchboard backend` together, starts and stops them; and
 * says when what the log has is to be delivered.
 */
#include "backend_serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "auth.h"
#include "config.h"
#include "database_auth.h"
#include "http.h"
#include "http_client.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"
#include "sender.h"
#include "stateless.h"
#include "store.h"

enum {
    STOP_TICK_MS = 20,
    CLAIMER_BYTES = 128,
    HOST_BYTES = 64,
    PATH_BYTES = 4096,
    FLUSH_MS = 5000,      /* for one flush; what it claimed is another's a little later */
    FLUSHES_MOST = 4,     /* one that waits for a slow gateway must not hold up the others */
    GREETING_DELAY_MS = 5 /* between the answer to $connect and the first try to send */
};

enum front_state { FRONT_SERVING, FRONT_STOPPING, FRONT_STOPPED };

struct front {
    struct config config; /* the caller's, with the port that was bound */
    enum front_state state;
    struct loop *loop;
    struct metrics metrics;
    struct profile_settings settings;
    struct auth *auth;
    struct http_pool *pool;
    struct store *store;
    struct sender *sender;
    struct stateless *stateless;
    struct http *http;
    struct timer *poll_timer;
    struct timer *greeting_timer;
    struct timer *cleanup_timer;
    struct timer *uptime_timer;
    struct timer *stop_timer;
    size_t flushes; /* under way */
    size_t jobs;    /* the same, of the cleanup */
    bool is_flush_due;
    struct deferred flush_turn;
    bool is_greeting_due;
    bool is_last_flush_done;
    bool has_http_client;
    int64_t started_ms;
    int64_t stop_deadline_ms;
    char host[HOST_BYTES];
    char claimer[CLAIMER_BYTES];
};

/* ---- ready ---- */

static bool is_ready(void *ctx, const char **reason)
{
    const struct front *front = ctx;

    if (front->state != FRONT_SERVING)
        *reason = "stopping";
    else if (!store_is_up(front->store, STORE_CONTROL) ||
             !store_is_up(front->store, STORE_FOLLOWER) || !store_is_up(front->store, STORE_EVENT))
        *reason = "database is away";
    else
        return true;
    return false;
}

/* ---- flushes: what waits for connections leaves ---- */

/* There may be something.  One that is under way may have looked before it was there. */
static void wake(struct front *front)
{
    front->is_flush_due = true;
    if (front->flushes == 0 && front->state == FRONT_SERVING)
        loop_at_end_of_turn(front->loop, &front->flush_turn);
}

static void on_flushed(void *ctx, size_t sent)
{
    struct front *front = ctx;

    (void)sent;
    front->flushes--;
    if (front->is_flush_due)
        wake(front);
}

static void flush(struct front *front, int64_t deadline_ms)
{
    front->flushes++;
    front->is_flush_due = false;
    stateless_flush(front->stateless, deadline_ms, on_flushed, front);
}

/* Not where it was asked for: that may be in the middle of an event. */
static void on_flush_turn(void *ctx)
{
    struct front *front = ctx;

    if (front->flushes == 0 && front->state == FRONT_SERVING)
        flush(front, clock_mono_ms() + FLUSH_MS);
}

static void on_published(void *ctx)
{
    wake(ctx);
}

/* The safety net, and the way past a flush that waits. */
static void on_poll(void *ctx)
{
    struct front *front = ctx;
    bool is_blocked = front->is_flush_due && front->flushes < FLUSHES_MOST;

    if (front->state == FRONT_SERVING && (front->flushes == 0 || is_blocked))
        flush(front, clock_mono_ms() + FLUSH_MS);
}

/* Greetings do not wait for other flushes. */
static void on_greeting(void *ctx)
{
    struct front *front = ctx;

    front->is_greeting_due = false;
    flush(front, clock_mono_ms() + FLUSH_MS);
}

static void on_opened(void *ctx)
{
    struct front *front = ctx;

    if (front->is_greeting_due)
        return;
    front->is_greeting_due = true;
    loop_timer_set(front->greeting_timer, GREETING_DELAY_MS, 0);
}

/* ---- the database's news ---- */

static void on_lane(void *ctx, enum store_lane lane, bool is_up)
{
    struct front *front = ctx;
    const char *reason;

    front->metrics.ready = is_ready(front, &reason);
    if (is_up && lane == STORE_EVENT)
        wake(front);
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
    (void)channel;
    (void)payload;
    wake(ctx);
}

/* ---- the schedule ---- */

static void on_cleaned(void *ctx, const struct error *err, const char *text)
{
    struct front *front = ctx;

    (void)text; /* it has logged what it did */
    front->jobs--;
    if (err)
        log_error("cleanup.failed", "error=%s sqlstate=%s next=%s", log_quote(err->text),
                  log_quote(err->sqlstate), log_quote("again at the next interval"));
}

static void on_cleanup(void *ctx)
{
    struct front *front = ctx;

    if (front->jobs > 0)
        return;
    front->jobs++;
    stateless_housekeep(front->stateless, clock_mono_ms() + front->config.cleanup_interval_s * 1000,
                        on_cleaned, front);
}

static void on_uptime(void *ctx)
{
    struct front *front = ctx;

    front->metrics.uptime_s = (uint64_t)(clock_mono_ms() - front->started_ms) / 1000;
    front->metrics.slow_turns = loop_slow_turns(front->loop);
}

/* ---- stopping ---- */

static bool is_busy(const struct front *front)
{
    return !http_is_idle(front->http) || front->is_greeting_due || front->flushes > 0 ||
           front->jobs > 0;
}

/* Requests are answered; then what they left for others and for the database leaves.  What is left
 * at the deadline is the business of whoever claims it next. */
static void on_stop_tick(void *ctx)
{
    struct front *front = ctx;
    bool is_late = loop_now_ms(front->loop) >= front->stop_deadline_ms;

    if (!is_late && is_busy(front))
        return;
    if (!is_late && !front->is_last_flush_done) {
        front->is_last_flush_done = true;
        flush(front, front->stop_deadline_ms);
        return;
    }
    front->state = FRONT_STOPPED;
    loop_stop(front->loop);
}

static void on_signal(void *ctx, int signum)
{
    struct front *front = ctx;

    if (front->state != FRONT_SERVING) {
        log_warn("backend.stop_at_once", "signal=%d", signum);
        front->state = FRONT_STOPPED;
        loop_stop(front->loop);
        return;
    }
    log_info("backend.stopping", "signal=%d", signum);
    front->state = FRONT_STOPPING;
    front->metrics.ready = 0;
    front->stop_deadline_ms = loop_now_ms(front->loop) + front->config.shutdown_timeout_ms;
    http_stop(front->http);
    loop_timer_set(front->stop_timer, 0, STOP_TICK_MS);
}

/* ---- starting ---- */

/* Every request that waits is a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static bool is_loopback_name(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

static void warn_of_open_port(const struct config *config)
{
    if (!*config->backend_secret && !is_loopback_name(config->backend_address))
        log_warn("backend.no_secret", "address=%s warning=%s", log_quote(config->backend_address),
                 log_quote("whoever reaches this port may speak for every client: only the "
                           "gateway may be able to (backend_secret)"));
}

static enum status start_auth(struct front *front, struct error *err)
{
    enum status status = database_auth_check(&front->config, err);

    if (status == OK)
        status = http_client_setup(err);
    front->has_http_client = status == OK;
    if (status == OK)
        status = auth_create(&front->config, &front->auth, err);
    if (status != OK)
        return status;
    profile_settings_init(&front->settings);
    status = profile_settings_override(&front->settings, &front->config, err);
    if (status == OK)
        auth_start(front->auth, front->loop);
    return status;
}

/* A new name in every life: what the one before had claimed is not ours. */
static void mint_claimer(struct front *front)
{
    uint64_t random;

    (void)gethostname(front->host, sizeof(front->host) - 1);
    random_bytes(&random, sizeof(random));
    snprintf(front->claimer, sizeof(front->claimer), "%s-%016llx", front->host,
             (unsigned long long)random);
}

static void create_middle(struct front *front)
{
    static const struct store_events events = {on_lane, on_notify};
    struct sender_env sender = {
        .loop = front->loop,
        .config = &front->config,
        .metrics = &front->metrics,
    };
    struct stateless_env stateless = {
        .loop = front->loop,
        .config = &front->config,
        .auth = front->auth,
        .settings = &front->settings,
        .metrics = &front->metrics,
        .claimer = front->claimer,
        .on_published = on_published,
        .ctx = front,
    };

    sender.pool = front->pool = http_pool_create(front->loop);
    stateless.sender = front->sender = sender_create(&sender);
    stateless.store = front->store =
        store_create(front->loop, &front->config, &front->metrics, &events, front);
    front->stateless = stateless_create(&stateless);
}

static enum status create_http(struct front *front, struct error *err)
{
    struct http_env env = {
        .loop = front->loop,
        .config = &front->config,
        .store = front->store,
        .metrics = &front->metrics,
        .is_ready = is_ready,
        .stateless = front->stateless,
        .on_opened = on_opened,
        .ctx = front,
    };
    enum status status = http_create(&env, &front->http, err);

    if (status == OK)
        front->config.backend_port = http_port(front->http);
    return status;
}

static void start_timers(struct front *front)
{
    const struct config *config = &front->config;
    struct loop *loop = front->loop;

    front->flush_turn = (struct deferred){.fn = on_flush_turn, .ctx = front};
    front->greeting_timer = loop_timer(loop, INT32_MAX, 0, on_greeting, front);
    front->poll_timer =
        loop_timer(loop, config->poll_interval_ms, config->poll_interval_ms, on_poll, front);
    front->stop_timer = loop_timer(loop, INT32_MAX, 0, on_stop_tick, front);
    front->uptime_timer = loop_timer(loop, 1000, 1000, on_uptime, front);
    if (config->cleanup_interval_s > 0)
        front->cleanup_timer = loop_timer(loop, config->cleanup_interval_s * 1000,
                                          config->cleanup_interval_s * 1000, on_cleanup, front);
}

static enum status start(struct front *front, struct error *err)
{
    enum status status = start_auth(front, err);

    if (status != OK)
        return status;
    warn_of_open_port(&front->config);
    mint_claimer(front);
    create_middle(front);
    status = create_http(front, err);
    if (status != OK)
        return status;
    start_timers(front);
    loop_on_signal(front->loop, SIGINT, on_signal, front);
    loop_on_signal(front->loop, SIGTERM, on_signal, front);
    return OK;
}

static void write_ports_file(const struct front *front)
{
    const struct config *config = &front->config;
    char temporary[PATH_BYTES];
    FILE *file;

    if (!*config->ports_file)
        return;
    snprintf(temporary, sizeof(temporary), "%s.tmp", config->ports_file);
    file = fopen(temporary, "we");
    if (file)
        fprintf(file, "{\"backendPort\":%lld,\"pid\":%ld}\n", (long long)config->backend_port,
                (long)getpid());
    if (!file || fclose(file) != 0 || rename(temporary, config->ports_file) != 0)
        log_warn("backend.ports_file_failed", "file=%s", log_quote(config->ports_file));
}

static void announce(const struct front *front)
{
    const struct config *config = &front->config;

    log_info("backend.start", "address=%s port=%lld profile=%s claimer=%s",
             log_quote(config->backend_address), (long long)config->backend_port,
             log_quote(config->profile), log_quote(front->claimer));
    printf("Events  http://%s:%lld  (/live /ready /metrics)\n", config->backend_address,
           (long long)config->backend_port);
    fflush(stdout);
    write_ports_file(front);
}

/* Nothing is under way any more.  Sockets of others go first, then what could use them. */
static void stop(struct front *front)
{
    struct timer *timers[] = {front->poll_timer, front->greeting_timer, front->cleanup_timer,
                              front->uptime_timer, front->stop_timer};

    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        loop_timer_stop(timers[i]);
    loop_undefer(front->loop, &front->flush_turn);
    if (front->http)
        http_free(front->http);
    if (front->store)
        store_close(front->store);
    sender_free(front->sender);
    stateless_free(front->stateless);
    if (front->store)
        store_free(front->store);
    http_pool_free(front->pool);
    auth_free(front->auth);
    loop_free(front->loop);
    if (front->has_http_client)
        http_client_done();
}

int cmd_backend(const struct config *config)
{
    struct front *front = mem_alloc(sizeof(*front));
    struct error err = {0};
    int code = 0;

    front->config = *config;
    front->started_ms = clock_mono_ms();
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    front->loop = loop_create();
    if (start(front, &err) == OK) {
        announce(front);
        loop_run(front->loop);
        log_info("backend.stopped", "uptime_s=%llu", (unsigned long long)front->metrics.uptime_s);
        if (is_busy(front)) {
            /* Somebody waits for what does not come: taking that apart helps nobody. */
            log_warn("backend.stopped_late", "requests=%s flushes=%zu",
                     http_is_idle(front->http) ? "no" : "yes", front->flushes);
            _exit(0);
        }
    } else {
        log_error("backend.failed", "error=%s", log_quote(err.text));
        code = 1;
    }
    stop(front);
    free(front);
    return code;
}

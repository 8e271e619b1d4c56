/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_clock.h"

#include <stdlib.h>

#include "backend.h"
#include "config.h"
#include "connections.h"
#include "loop.h"
#include "profile.h"

enum { BUCKETS = 256, TICK_MIN_MS = 10, TICK_MAX_MS = 1000, TICKS_PER_IDLE = 16 };

struct gateway_clock {
    struct loop *loop;
    const struct config *config;
    const struct profile_settings *settings;
    struct backend *backend;
    int64_t tick_ms;
    int64_t tick; /* the last one that was processed */
    struct connection *buckets[BUCKETS];
    struct timer *wheel_timer;
    struct connection *touched;
    struct timer *touch_timer;
};

/* ---- the wheel ---- */

static int64_t deadline_of(const struct gateway_clock *clock, const struct connection *connection)
{
    int64_t idle = connection->last_seen_mono_ms + clock->config->idle_timeout_ms;
    int64_t most = connection->opened_mono_ms + clock->config->max_connection_ms;
    int64_t deadline = idle < most ? idle : most;

    if (connection->token_expires_mono_ms && connection->token_expires_mono_ms < deadline)
        return connection->token_expires_mono_ms;
    return deadline;
}

/* When a client that was not heard of since, nor asked, is pinged; INT64_MAX: never. */
static int64_t ping_time_of(const struct gateway_clock *clock, const struct connection *connection)
{
    int64_t last = connection->last_seen_mono_ms;

    if (clock->settings->ping_interval_ms == 0)
        return INT64_MAX;
    if (connection->last_ping_mono_ms > last)
        last = connection->last_ping_mono_ms;
    return last + clock->settings->ping_interval_ms;
}

static void put(struct gateway_clock *clock, struct connection *connection)
{
    int64_t deadline = deadline_of(clock, connection);
    int64_t ping = ping_time_of(clock, connection);
    int64_t tick = (ping < deadline ? ping : deadline) / clock->tick_ms + 1;
    struct connection **bucket;

    if (tick <= clock->tick)
        tick = clock->tick + 1;
    if (tick > clock->tick + BUCKETS - 1)
        tick = clock->tick + BUCKETS - 1; /* farther than the wheel: looked at early, put again */
    bucket = &clock->buckets[tick % BUCKETS];
    connection->wheel_next = *bucket;
    if (*bucket)
        (*bucket)->wheel_link = &connection->wheel_next;
    connection->wheel_link = bucket;
    *bucket = connection;
}

static void take_out(struct connection *connection)
{
    if (!connection->wheel_link)
        return;
    *connection->wheel_link = connection->wheel_next;
    if (connection->wheel_next)
        connection->wheel_next->wheel_link = connection->wheel_link;
    connection->wheel_link = NULL;
}

static void look_after(struct gateway_clock *clock, struct connection *connection, int64_t now)
{
    if (ping_time_of(clock, connection) <= now) {
        connection->last_ping_mono_ms = now;
        connection_ping(connection);
    }
    put(clock, connection);
}

static void turn_one(struct gateway_clock *clock, int64_t now)
{
    struct connection **bucket = &clock->buckets[clock->tick % BUCKETS];

    while (*bucket) {
        struct connection *connection = *bucket;

        take_out(connection);
        if (deadline_of(clock, connection) > now)
            look_after(clock, connection, now);
        else if (connection->token_expires_mono_ms && connection->token_expires_mono_ms <= now)
            connection_close(connection, 1008, "Token expired");
        else
            connection_close(connection, 1001, "Going away");
    }
}

static void turn_wheel(void *ctx)
{
    struct gateway_clock *clock = ctx;
    int64_t now = clock_mono_ms();

    while (clock->tick < now / clock->tick_ms) {
        clock->tick++;
        turn_one(clock, now);
    }
}

void gateway_clock_add(struct gateway_clock *clock, struct connection *connection)
{
    put(clock, connection);
}

/* ---- touching ---- */

static void untouch(struct connection *connection)
{
    if (!connection->touch_link)
        return;
    *connection->touch_link = connection->touch_next;
    if (connection->touch_next)
        connection->touch_next->touch_link = connection->touch_link;
    connection->touch_link = NULL;
}

static void flush_touches(void *ctx)
{
    struct gateway_clock *clock = ctx;
    int64_t again_ms = clock->config->touch_interval_ms;

    while (clock->touched) {
        struct connection *connection = clock->touched;

        if (!backend_touch(clock->backend, connection->id, connection->last_activity_ms)) {
            again_ms = TICK_MIN_MS;
            break;
        }
        untouch(connection);
    }
    loop_timer_set(clock->touch_timer, again_ms, 0);
}

void gateway_clock_touch(struct gateway_clock *clock, struct connection *connection)
{
    connection->last_activity_ms = loop_unix_ms(clock->loop);
    connection->last_seen_mono_ms = loop_now_ms(clock->loop);
    if (connection->touch_link || !clock->backend)
        return;
    connection->touch_next = clock->touched;
    if (clock->touched)
        clock->touched->touch_link = &connection->touch_next;
    connection->touch_link = &clock->touched;
    clock->touched = connection;
}

void gateway_clock_remove(struct gateway_clock *clock, struct connection *connection)
{
    (void)clock;
    take_out(connection);
    untouch(connection);
}

/* ---- life ---- */

static int64_t choose_tick(const struct config *config)
{
    int64_t least = config->idle_timeout_ms < config->max_connection_ms ? config->idle_timeout_ms
                                                                        : config->max_connection_ms;
    int64_t tick;

    if (config->ping_interval_ms > 0 && config->ping_interval_ms < least)
        least = config->ping_interval_ms;
    tick = least / TICKS_PER_IDLE;
    if (tick < TICK_MIN_MS)
        return TICK_MIN_MS;
    return tick > TICK_MAX_MS ? TICK_MAX_MS : tick;
}

struct gateway_clock *gateway_clock_create(struct loop *loop, const struct config *config,
                                           const struct profile_settings *settings,
                                           struct backend *backend)
{
    struct gateway_clock *clock = mem_alloc(sizeof(*clock));

    clock->loop = loop;
    clock->config = config;
    clock->settings = settings;
    clock->backend = backend;
    clock->tick_ms = choose_tick(config);
    clock->tick = clock_mono_ms() / clock->tick_ms;
    clock->wheel_timer = loop_timer(loop, clock->tick_ms, clock->tick_ms, turn_wheel, clock);
    clock->touch_timer = loop_timer(loop, config->touch_interval_ms, 0, flush_touches, clock);
    return clock;
}

void gateway_clock_free(struct gateway_clock *clock)
{
    loop_timer_stop(clock->wheel_timer);
    loop_timer_stop(clock->touch_timer);
    free(clock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - the one event loop; libuv is behind it and nowhere else.
 *
 * A turn is: timers, ready descriptors, then the end of the turn: deferred work in the order it was
 * asked for, until none is left.  Deferred work is where batches go to the database, queued frames
 * go to the sockets and closed things are freed.  Everything runs on one thread; nothing may block.
 * A turn longer than 50 ms is logged as loop.slow_turn.
 */
#pragma once

#include "base.h"

struct loop;
struct watch;
struct timer;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop *loop_create(void) MUST_USE;
/* Everything must have been stopped; closes what libuv still closes. */
void loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop() */
void loop_stop(struct loop *loop);
/* A few turns without waiting, after loop_run: what a guest on the loop needs to finish closing. */
void loop_settle(struct loop *loop);
int64_t loop_now_ms(const struct loop *loop); /* monotonic, as of this turn */
int64_t loop_unix_ms(struct loop *loop);      /* the same since 1970 */
/* How long the loop has waited for something to do, since it was made.  What took so much longer
 * than this has grown was kept waiting by ourselves. */
int64_t loop_waited_ms(const struct loop *loop);
uint64_t loop_slow_turns(const struct loop *loop);

/* Watches a descriptor.  The callback's events are LOOP_READ, LOOP_WRITE or both; an error or
 * hang-up is reported as whatever is watched, the next read or write tells.  The descriptor stays
 * the caller's: loop_unwatch first, close afterwards.  The watch is freed by the loop later and
 * its callback is never called again; loop_unwatch inside the callback is fine. */
typedef void watch_fn(void *ctx, int events);
struct watch *loop_watch(struct loop *loop, int fd, int events, watch_fn *fn, void *ctx) MUST_USE;
void loop_watch_set(struct watch *watch, int events); /* 0: keep, but report nothing */
void loop_unwatch(struct watch *watch);               /* NULL is allowed */

/* A timer; repeat_ms 0: once.  A one-shot timer still has to be stopped to be freed. */
typedef void timer_fn(void *ctx);
struct timer *loop_timer(struct loop *loop, int64_t delay_ms, int64_t repeat_ms, timer_fn *fn,
                         void *ctx) MUST_USE;
void loop_timer_set(struct timer *timer, int64_t delay_ms, int64_t repeat_ms); /* starts it again */
void loop_timer_stop(struct timer *timer); /* frees; NULL is allowed */

/* Work for the end of this turn.  Embed one in what it works on; asking again while it is pending
 * does nothing.  loop_undefer takes it back. */
typedef void deferred_fn(void *ctx);
struct deferred {
    deferred_fn *fn;
    void *ctx;
    struct deferred *next;
    struct deferred **link; /* not NULL while pending */
};
void loop_at_end_of_turn(struct loop *loop, struct deferred *deferred);
void loop_undefer(struct loop *loop, struct deferred *deferred);

/* The handler runs on the loop, not in the signal's context. */
typedef void signal_fn(void *ctx, int signum);
void loop_on_signal(struct loop *loop, int signum, signal_fn *fn, void *ctx);

/* Resolves a host name on libuv's thread pool; done gets a numeric address or an error. */
typedef void resolve_done(void *ctx, const struct error *err, const char *address);
void loop_resolve(struct loop *loop, const char *host, resolve_done *done, void *ctx);

/* Runs fn on libuv's thread pool, then done on the loop, always: loop_free waits for what is under
 * way.  fn must not touch what belongs to the loop. */
typedef void work_fn(void *ctx);
void loop_work(struct loop *loop, work_fn *fn, work_fn *done, void *ctx);

/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "log.h"

enum { SLOW_TURN_US = 50 * 1000, SIGNALS = 4, SETTLE_TURNS = 4 };

struct signal_handler {
    uv_signal_t handle;
    signal_fn *fn;
    void *ctx;
    bool is_used;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    struct deferred *first;
    struct deferred **last; /* where the next one is linked */
    struct signal_handler signals[SIGNALS];
    int64_t turn_began_us;
    int64_t turn_ended_us;
    int64_t waited_us;
    int64_t unix_ms;    /* read when loop_now_ms() was */
    int64_t unix_at_ms; /* this */
    uint64_t slow_turns;
    const char *slowest; /* the kind of work of this turn that took longest, for the log */
    int64_t slowest_us;
};

struct watch {
    uv_poll_t handle;
    watch_fn *fn;
    void *ctx;
    struct loop *loop;
};

struct timer {
    uv_timer_t handle;
    timer_fn *fn;
    void *ctx;
    struct loop *loop;
};

/* ---- turns ---- */

static void note_work(struct loop *loop, const char *kind, int64_t began_us)
{
    int64_t took = clock_mono_us() - began_us;

    if (took > loop->slowest_us) {
        loop->slowest_us = took;
        loop->slowest = kind;
    }
}

static void run_deferred(struct loop *loop)
{
    int64_t began;

    if (!loop->first)
        return;
    began = clock_mono_us();
    while (loop->first) {
        struct deferred *deferred = loop->first;

        loop_undefer(loop, deferred);
        deferred->fn(deferred->ctx);
    }
    note_work(loop, "end_of_turn", began);
}

/* libuv polls after this: what timers asked for must not wait for the next event. */
static void on_prepare(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;
    int64_t took;

    run_deferred(loop);
    took = loop->turn_began_us ? clock_mono_us() - loop->turn_began_us : 0;
    if (took > SLOW_TURN_US) {
        loop->slow_turns++;
        log_warn("loop.slow_turn", "ms=%lld slowest=%s slowest_ms=%lld", (long long)(took / 1000),
                 loop->slowest ? loop->slowest : "library", (long long)(loop->slowest_us / 1000));
    }
    loop->turn_began_us = 0;
    loop->turn_ended_us = clock_mono_us();
}

static void begin_turn(struct loop *loop)
{
    if (loop->turn_began_us)
        return;
    loop->turn_began_us = clock_mono_us();
    if (loop->turn_ended_us)
        loop->waited_us += loop->turn_began_us - loop->turn_ended_us;
    loop->turn_ended_us = 0;
    loop->slowest = NULL;
    loop->slowest_us = 0;
}

static void on_check(uv_check_t *handle)
{
    begin_turn(handle->data);
    run_deferred(handle->data);
}

struct loop *loop_create(void)
{
    struct loop *loop = mem_alloc(sizeof(*loop));

    uv_loop_init(&loop->uv);
    loop->uv.data = loop;
    loop->last = &loop->first;
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    loop->prepare.data = loop;
    loop->check.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    /* These two alone must not keep the loop alive while loop_free drains it. */
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->check);
    return loop;
}

void loop_free(struct loop *loop)
{
    int rc;

    for (size_t i = 0; i < SIGNALS; i++)
        if (loop->signals[i].is_used)
            uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
    uv_prepare_stop(&loop->prepare);
    uv_check_stop(&loop->check);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    run_deferred(loop);
    /* The close callbacks; a loop_stop() that came while the loop was not running ends the first.
     */
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
        ;
    rc = uv_loop_close(&loop->uv);
    assert(rc == 0); /* somebody did not stop what they started */
    (void)rc;
    free(loop);
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    run_deferred(loop);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

/* Closing takes a turn, and may start closing what it was waiting for, which takes another. */
void loop_settle(struct loop *loop)
{
    for (int i = 0; i < SETTLE_TURNS; i++)
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    run_deferred(loop);
}

/* Asked several times for every message; the clock is read once. */
int64_t loop_unix_ms(struct loop *loop)
{
    int64_t now = loop_now_ms(loop);

    if (loop->unix_at_ms != now || loop->unix_ms == 0) {
        loop->unix_ms = clock_unix_ms();
        loop->unix_at_ms = now;
    }
    return loop->unix_ms;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

int64_t loop_waited_ms(const struct loop *loop)
{
    return loop->waited_us / 1000;
}

uint64_t loop_slow_turns(const struct loop *loop)
{
    return loop->slow_turns;
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct watch *watch = handle->data;
    struct loop *loop = watch->loop;
    int64_t began = clock_mono_us();
    int ready = 0;

    begin_turn(loop);
    if (status < 0)
        ready = LOOP_READ | LOOP_WRITE;
    if (events & UV_READABLE)
        ready |= LOOP_READ;
    if (events & UV_WRITABLE)
        ready |= LOOP_WRITE;
    watch->fn(watch->ctx, ready);
    note_work(loop, "descriptor", began);
}

void loop_watch_set(struct watch *watch, int events)
{
    int wanted = 0;

    if (events & LOOP_READ)
        wanted |= UV_READABLE;
    if (events & LOOP_WRITE)
        wanted |= UV_WRITABLE;
    if (wanted)
        uv_poll_start(&watch->handle, wanted, on_poll);
    else
        uv_poll_stop(&watch->handle);
}

struct watch *loop_watch(struct loop *loop, int fd, int events, watch_fn *fn, void *ctx)
{
    struct watch *watch = mem_alloc(sizeof(*watch));
    int rc;

    watch->fn = fn;
    watch->ctx = ctx;
    watch->loop = loop;
    rc = uv_poll_init(&loop->uv, &watch->handle, fd);
    assert(rc == 0); /* a descriptor that is no socket, or watched twice */
    (void)rc;
    watch->handle.data = watch;
    loop_watch_set(watch, events);
    return watch;
}

static void free_data(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_unwatch(struct watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->handle, free_data);
}

/* ---- timers ---- */

static void on_uv_timer(uv_timer_t *handle)
{
    struct timer *timer = handle->data;
    struct loop *loop = timer->loop;
    int64_t began = clock_mono_us();

    begin_turn(loop);
    timer->fn(timer->ctx);
    note_work(loop, "timer", began);
}

void loop_timer_set(struct timer *timer, int64_t delay_ms, int64_t repeat_ms)
{
    assert(delay_ms >= 0 && repeat_ms >= 0);
    uv_timer_start(&timer->handle, on_uv_timer, (uint64_t)delay_ms, (uint64_t)repeat_ms);
}

struct timer *loop_timer(struct loop *loop, int64_t delay_ms, int64_t repeat_ms, timer_fn *fn,
                         void *ctx)
{
    struct timer *timer = mem_alloc(sizeof(*timer));

    timer->fn = fn;
    timer->ctx = ctx;
    timer->loop = loop;
    uv_timer_init(&loop->uv, &timer->handle);
    timer->handle.data = timer;
    loop_timer_set(timer, delay_ms, repeat_ms);
    return timer;
}

void loop_timer_stop(struct timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->handle, free_data);
}

/* ---- the end of the turn ---- */

void loop_at_end_of_turn(struct loop *loop, struct deferred *deferred)
{
    if (deferred->link)
        return;
    deferred->next = NULL;
    deferred->link = loop->last;
    *loop->last = deferred;
    loop->last = &deferred->next;
}

void loop_undefer(struct loop *loop, struct deferred *deferred)
{
    if (!deferred->link)
        return;
    *deferred->link = deferred->next;
    if (deferred->next)
        deferred->next->link = deferred->link;
    else
        loop->last = deferred->link;
    deferred->link = NULL;
    deferred->next = NULL;
}

/* ---- signals ---- */

static void on_uv_signal(uv_signal_t *handle, int signum)
{
    struct signal_handler *handler = handle->data;

    handler->fn(handler->ctx, signum);
}

void loop_on_signal(struct loop *loop, int signum, signal_fn *fn, void *ctx)
{
    struct signal_handler *handler = loop->signals;

    while (handler->is_used) {
        handler++;
        assert(handler < loop->signals + SIGNALS);
    }
    handler->is_used = true;
    handler->fn = fn;
    handler->ctx = ctx;
    uv_signal_init(&loop->uv, &handler->handle);
    handler->handle.data = handler;
    uv_signal_start(&handler->handle, on_uv_signal, signum);
    uv_unref((uv_handle_t *)&handler->handle);
}

/* ---- names ---- */

struct resolve {
    uv_getaddrinfo_t request;
    resolve_done *done;
    void *ctx;
    char *host;
};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct resolve *resolve = request->data;
    struct error err = {0};
    char address[64] = "";

    if (status == 0 && found->ai_family == AF_INET6)
        status = uv_ip6_name((const void *)found->ai_addr, address, sizeof(address));
    else if (status == 0)
        status = uv_ip4_name((const void *)found->ai_addr, address, sizeof(address));
    uv_freeaddrinfo(found);
    if (status == 0) {
        resolve->done(resolve->ctx, NULL, address);
    } else {
        fail(&err, UNAVAILABLE, "cannot resolve \"%s\": %s", resolve->host, uv_strerror(status));
        resolve->done(resolve->ctx, &err, NULL);
    }
    free(resolve->host);
    free(resolve);
}

void loop_resolve(struct loop *loop, const char *host, resolve_done *done, void *ctx)
{
    struct resolve *resolve = mem_alloc(sizeof(*resolve));
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc;

    resolve->done = done;
    resolve->ctx = ctx;
    resolve->host = mem_strdup(host);
    resolve->request.data = resolve;
    rc = uv_getaddrinfo(&loop->uv, &resolve->request, on_resolved, host, NULL, &hints);
    assert(rc == 0); /* only a host name over 255 bytes, which libpq's conninfo refuses */
    (void)rc;
}

/* ---- threads ---- */

struct work {
    uv_work_t request;
    struct loop *loop;
    work_fn *fn;
    work_fn *done;
    void *ctx;
};

static void run_work(uv_work_t *request)
{
    struct work *work = request->data;

    work->fn(work->ctx);
}

static void on_worked(uv_work_t *request, int status)
{
    struct work *work = request->data;
    int64_t began = clock_mono_us();

    assert(status == 0); /* nobody cancels it */
    (void)status;
    work->done(work->ctx);
    note_work(work->loop, "work", began);
    free(work);
}

void loop_work(struct loop *loop, work_fn *fn, work_fn *done, void *ctx)
{
    struct work *work = mem_alloc(sizeof(*work));
    int rc;

    work->loop = loop;
    work->fn = fn;
    work->done = done;
    work->ctx = ctx;
    work->request.data = work;
    rc = uv_queue_work(&loop->uv, &work->request, run_work, on_worked);
    assert(rc == 0);
    (void)rc;
}

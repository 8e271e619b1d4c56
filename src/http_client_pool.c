/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client_pool.c - the calls of a pool: whose turn it is, how long the others wait, and what is
 * kept of one for the next.
 *
 * Nothing of libcurl is here: what it does for a call is in http_client.c.
 */
#include "http_client_internal.h"

#include <assert.h>
#include <stdlib.h>

enum {
    MAX_IDLE_CALLS = 256,   /* finished ones that are kept for the next requests */
    KEPT_BYTES = 16 * 1024, /* of the buffers of each of those */
    MAX_BEGUN = 256,        /* calls in one turn; each takes 0.02 ms */
    MAX_NEW = 16            /* those that need a new connection: 0.1 ms and more */
};

/* list NULL: none. */
static void move_call(struct http_call *call, struct call_list *list)
{
    if (call->list) {
        *call->link = call->next;
        if (call->next)
            call->next->link = call->link;
        else
            call->list->last = call->link;
        call->list->count--;
    }
    call->list = list;
    call->next = NULL;
    if (!list)
        return;
    call->link = list->last;
    *list->last = call;
    list->last = &call->next;
    list->count++;
}

/* ---- the life of a call ---- */

static struct http_call *create_call(struct http_pool *pool)
{
    struct http_call *call = mem_alloc(sizeof(*call));

    call->pool = pool;
    call->roots = pool->roots;
    buf_init(&call->text, SIZE_MAX);
    buf_init(&call->body, SIZE_MAX);
    buf_init(&call->answer, SIZE_MAX);
    http_client_create_easy(call);
    return call;
}

static void free_call(struct http_call *call)
{
    if (call->list == &call->pool->open)
        http_client_end(call);
    move_call(call, NULL);
    loop_timer_stop(call->timer);
    http_client_free_easy(call);
    free(call->lines);
    buf_done(&call->text);
    buf_done(&call->body);
    buf_done(&call->answer);
    free(call);
}

static void free_calls(struct call_list *list)
{
    struct http_call *next;

    for (struct http_call *call = list->first; call; call = next) {
        next = call->next;
        free_call(call);
    }
}

static void empty_buf(struct buf *buf)
{
    if (buf->cap > KEPT_BYTES)
        buf_done(buf);
    else
        buf_clear(buf);
}

static void recycle_call(struct http_call *call)
{
    struct http_pool *pool = call->pool;

    if (pool->idle.count >= MAX_IDLE_CALLS || call->roots != pool->roots) {
        free_call(call);
        return;
    }
    call->is_sent = false;
    call->is_connected = false;
    empty_buf(&call->text);
    empty_buf(&call->body);
    empty_buf(&call->answer);
    move_call(call, &pool->idle);
}

/* ---- answers ---- */

void http_call_finish(struct http_call *call, const struct http_pool_answer *answer)
{
    struct http_pool *pool = call->pool;

    move_call(call, NULL);
    pool->is_delivering = true;
    call->done(call->ctx, answer);
    pool->is_delivering = false;
    recycle_call(call);
    http_pool_open_waiting(pool);
}

static void on_waited(void *ctx)
{
    const struct http_pool_answer answer = {.outcome = HTTP_TIMED_OUT,
                                            .error = "too many calls are under way"};
    struct http_call *call = ctx;

    loop_timer_stop(call->timer);
    call->timer = NULL;
    http_call_finish(call, &answer);
}

/* ---- starting and ending ---- */

/* libcurl begins all of them at once, and a crowd would hold the loop up. */
static bool may_begin(const struct http_pool *pool)
{
    return http_pool_has_turn(pool) && pool->begun < MAX_BEGUN &&
           pool->begun < pool->kept_count + MAX_NEW;
}

/* timeout_ms 0: none. */
static void open_call(struct http_call *call, int64_t timeout_ms)
{
    move_call(call, &call->pool->open);
    call->pool->begun++;
    http_client_begin(call, timeout_ms);
}

void http_pool_open_waiting(struct http_pool *pool)
{
    while (pool->waiting.first && may_begin(pool)) {
        struct http_call *call = pool->waiting.first;
        int64_t left_ms;

        loop_timer_stop(call->timer);
        call->timer = NULL;
        left_ms = call->deadline_ms - clock_mono_ms();
        open_call(call, left_ms > 0 ? left_ms : 1);
    }
    if (pool->waiting.first && http_pool_has_turn(pool))
        loop_at_end_of_turn(pool->loop, &pool->set_timer);
}

struct http_pool *http_pool_create(struct loop *loop)
{
    struct http_pool *pool = mem_alloc(sizeof(*pool));

    pool->loop = loop;
    pool->waiting.last = &pool->waiting.first;
    pool->open.last = &pool->open.first;
    pool->idle.last = &pool->idle.first;
    pool->max_calls = HTTP_POOL_MAX_CALLS;
    http_client_create_multi(pool);
    return pool;
}

void http_pool_limit(struct http_pool *pool, size_t max_calls)
{
    pool->max_calls = max_calls;
    http_pool_open_waiting(pool);
}

void http_pool_trust(struct http_pool *pool, const char *ca_file)
{
    char *copy = mem_strdup(ca_file);

    free(pool->ca_file);
    pool->ca_file = copy;
    pool->roots++;
    free_calls(&pool->idle);
}

void http_pool_free(struct http_pool *pool)
{
    if (!pool)
        return;
    assert(!pool->is_delivering);
    free_calls(&pool->waiting);
    free_calls(&pool->open);
    free_calls(&pool->idle);
    http_client_free_multi(pool);
    free(pool->ca_file);
    free(pool);
}

struct http_call *http_pool_start(struct http_pool *pool, const struct http_pool_request *request,
                                  http_pool_done *done, void *ctx)
{
    struct http_call *call = pool->idle.first ? pool->idle.first : create_call(pool);

    assert(request->timeout_ms > 0 || http_pool_has_turn(pool));
    call->done = done;
    call->ctx = ctx;
    call->error[0] = '\0';
    call->answer.limit = request->max_answer_bytes;
    http_client_set_message(call, request);
    if (request->timeout_ms == 0) {
        open_call(call, 0);
        return call;
    }
    move_call(call, &pool->waiting);
    if (pool->waiting.first == call && may_begin(pool)) {
        open_call(call, request->timeout_ms);
        return call;
    }
    call->deadline_ms = clock_mono_ms() + request->timeout_ms;
    call->timer = loop_timer(pool->loop, request->timeout_ms, 0, on_waited, call);
    loop_at_end_of_turn(pool->loop, &pool->set_timer);
    return call;
}

void http_call_cancel(struct http_call *call)
{
    struct http_pool *pool = call->pool;

    if (!call->list) /* it is its own done that takes it back */
        return;
    if (call->list == &pool->open)
        http_client_end(call);
    loop_timer_stop(call->timer);
    call->timer = NULL;
    recycle_call(call);
    http_pool_open_waiting(pool);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "expiry.h"

#include <assert.h>

#include "loop.h"

void expiry_init(struct expiry_queue *queue, struct loop *loop, int64_t time_ms, expiry_fn *fn,
                 void *ctx)
{
    *queue = (struct expiry_queue){.loop = loop, .time_ms = time_ms, .fn = fn, .ctx = ctx};
}

void expiry_done(struct expiry_queue *queue)
{
    while (queue->first)
        expiry_remove(queue->first);
    loop_timer_stop(queue->timer);
    queue->timer = NULL;
}

/* The timer always runs for the first; when that was removed meanwhile it rings in vain once. */
static void on_timer(void *ctx)
{
    struct expiry_queue *queue = ctx;
    int64_t now = loop_now_ms(queue->loop);

    while (queue->first && queue->first->at_ms <= now) {
        struct expiry *expiry = queue->first;

        expiry_remove(expiry);
        queue->fn(queue->ctx, expiry);
    }
    if (queue->first) {
        loop_timer_set(queue->timer, queue->first->at_ms - now, 0);
    } else {
        loop_timer_stop(queue->timer);
        queue->timer = NULL;
    }
}

void expiry_add(struct expiry_queue *queue, struct expiry *expiry)
{
    assert(!expiry->queue);
    expiry->queue = queue;
    expiry->at_ms = loop_now_ms(queue->loop) + queue->time_ms;
    expiry->prev = queue->last;
    expiry->next = NULL;
    if (queue->last)
        queue->last->next = expiry;
    else
        queue->first = expiry;
    queue->last = expiry;
    if (!queue->timer)
        queue->timer = loop_timer(queue->loop, queue->time_ms, 0, on_timer, queue);
}

void expiry_remove(struct expiry *expiry)
{
    struct expiry_queue *queue = expiry->queue;

    if (!queue)
        return;
    if (expiry->prev)
        expiry->prev->next = expiry->next;
    else
        queue->first = expiry->next;
    if (expiry->next)
        expiry->next->prev = expiry->prev;
    else
        queue->last = expiry->prev;
    *expiry = (struct expiry){0};
}

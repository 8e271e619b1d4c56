/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expiry.h - things that all get the same time, in the order in which it runs out, and one timer.
 *
 * Embed a struct expiry in the thing.  Adding and removing cost nothing and need no timer of their
 * own, which matters with thousands of them.  Loop thread only.
 */
#pragma once

#include "base.h"

struct expiry_queue;
struct loop;
struct timer;

struct expiry {
    struct expiry *prev, *next;
    struct expiry_queue *queue; /* NULL while it is in none */
    int64_t at_ms;
};

/* The time is over; it is not in the queue any more. */
typedef void expiry_fn(void *ctx, struct expiry *expiry);

struct expiry_queue {
    struct loop *loop;
    struct timer *timer; /* NULL while nothing is in the queue, about */
    struct expiry *first, *last;
    int64_t time_ms;
    expiry_fn *fn;
    void *ctx;
};

void expiry_init(struct expiry_queue *queue, struct loop *loop, int64_t time_ms, expiry_fn *fn,
                 void *ctx);
/* Takes out whatever is in it and stops the timer. */
void expiry_done(struct expiry_queue *queue);

void expiry_add(struct expiry_queue *queue, struct expiry *expiry); /* it must be in none */
void expiry_remove(struct expiry *expiry);                          /* it may be in none */

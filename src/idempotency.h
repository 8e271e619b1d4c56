/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idempotency.h - answers to requests that may come twice, in memory: for a program without a
 * database, which keeps them in a table otherwise.
 *
 * Bounded in number and bytes: the oldest ones make room, and are forgotten after a day.
 */
#pragma once

#include "base.h"

struct idempotency;

enum {
    IDEMPOTENCY_ENTRIES = 4096,
    IDEMPOTENCY_ANSWER_BYTES = 16 * 1024 * 1024,
    IDEMPOTENCY_MS = 24 * 3600 * 1000
};

struct idempotency *idempotency_create(void) MUST_USE;
void idempotency_free(struct idempotency *idempotency); /* NULL is allowed */

enum idempotency_result {
    IDEMPOTENCY_NEW,  /* not seen: to be done */
    IDEMPOTENCY_SAME, /* *answer is what was answered; borrowed until the next _put */
    IDEMPOTENCY_OTHER /* the key was used for another request */
};

/* request: its bytes. */
struct idempotency_request {
    const char *key;
    const void *request;
    size_t len;
    int64_t now_ms;
};
enum idempotency_result idempotency_find(const struct idempotency *idempotency,
                                         const struct idempotency_request *request,
                                         const char **answer) MUST_USE;
void idempotency_put(struct idempotency *idempotency, const struct idempotency_request *request,
                     const char *answer);

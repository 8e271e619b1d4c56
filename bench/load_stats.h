/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_stats.h - times of many messages: a histogram whose buckets are 1.6 % wide.
 */
#pragma once

#include "load_base.h"

enum { STATS_SUB_BITS = 6, STATS_SUBS = 1 << STATS_SUB_BITS, STATS_OCTAVES = 40 };

struct stats {
    uint64_t count;
    uint64_t max_ns;
    uint64_t bucket[STATS_OCTAVES * STATS_SUBS];
};

/* Forgets all times. */
void stats_clear(struct stats *stats);
void stats_add(struct stats *stats, uint64_t ns);

/* The time that `percent` of all are not above, in ns: 0 when there are none. */
double stats_percentile(const struct stats *stats, double percent);

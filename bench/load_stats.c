/* SPDX-License-Identifier: Apache-2.0 */
#include "load_stats.h"

#include <string.h>

void stats_clear(struct stats *stats)
{
    memset(stats, 0, sizeof *stats);
}

/* Times below STATS_SUBS have a bucket each; every further octave has STATS_SUBS of them. */
static size_t find_bucket(uint64_t ns)
{
    size_t octave;

    if (ns < STATS_SUBS)
        return (size_t)ns;
    octave = (size_t)(63 - __builtin_clzll(ns)) - STATS_SUB_BITS;
    if (octave >= STATS_OCTAVES - 1)
        return STATS_OCTAVES * STATS_SUBS - 1;
    return (octave + 1) * STATS_SUBS + (size_t)(ns >> octave) - STATS_SUBS;
}

static double bucket_middle(size_t bucket)
{
    size_t octave;

    if (bucket < STATS_SUBS)
        return (double)bucket;
    octave = bucket / STATS_SUBS - 1;
    return ((double)(bucket % STATS_SUBS + STATS_SUBS) + 0.5) * (double)(UINT64_C(1) << octave);
}

void stats_add(struct stats *stats, uint64_t ns)
{
    stats->count++;
    stats->bucket[find_bucket(ns)]++;
    if (ns > stats->max_ns)
        stats->max_ns = ns;
}

double stats_percentile(const struct stats *stats, double percent)
{
    double wanted = (double)stats->count * percent / 100;
    uint64_t passed = 0;

    for (size_t i = 0; i < STATS_OCTAVES * STATS_SUBS; i++) {
        passed += stats->bucket[i];
        if (stats->bucket[i] && (double)passed >= wanted)
            return bucket_middle(i);
    }
    return 0;
}

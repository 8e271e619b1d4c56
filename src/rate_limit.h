/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_limit.h - token buckets: "10/s:20" is ten a second on average and twenty at once.
 *
 * A bucket is a value: embed it in what it limits.  Where there is nothing to embed it in (a user
 * has connections that come and go), a rate_table keeps buckets by name; a bucket that is full
 * again is the same as none and is dropped, so its size follows what is going on.
 */
#pragma once

#include "base.h"

struct rate {
    double per_ms;
    double burst; /* 0: no limit */
};

/* "<number>/<s|m|h>[:<burst>]"; "" and "off" are no limit; the burst is the number when it is not
 * given.  INVALID says what is wrong. */
enum status rate_parse(const char *text, struct rate *out, struct error *err) MUST_USE;

struct rate_bucket { /* zeroed: full */
    double tokens;
    int64_t at_ms;
};

/* Takes one token and returns 0, or takes nothing and returns after how many milliseconds there
 * will be one.  now_ms: a monotonic clock, greater than 0. */
int64_t rate_bucket_take(struct rate_bucket *bucket, const struct rate *rate, int64_t now_ms);

/* ---- buckets by name ---- */

struct rate_table;

/* Past max_buckets the one that was used longest ago goes, full or not. */
struct rate_table *rate_table_create(size_t max_buckets) MUST_USE;
void rate_table_free(struct rate_table *table); /* NULL is allowed */
int64_t rate_table_take(struct rate_table *table, const struct rate *rate, const char *name,
                        int64_t now_ms);
size_t rate_table_len(const struct rate_table *table);

/* ---- limits of routes: "chat=2/s:5,ping=1/s:1" ---- */

enum { RATE_ROUTES = 32, RATE_ROUTE_BYTES = 64 };

struct rate_route {
    char name[RATE_ROUTE_BYTES];
    struct rate rate;
    struct rate_bucket bucket;
};

struct rate_routes {
    size_t count;
    struct rate_route items[RATE_ROUTES];
};

/* INVALID, and *out untouched, when one of them is wrong. */
enum status rate_routes_parse(const char *text, struct rate_routes *out,
                              struct error *err) MUST_USE;
/* 0 for a route that has no limit. */
int64_t rate_routes_take(struct rate_routes *routes, const char *name, int64_t now_ms);

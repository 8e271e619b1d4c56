/* SPDX-License-Identifier: Apache-2.0 */
#include "rate_limit.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 64, DROPS_PER_TAKE = 2, SECOND_MS = 1000, MINUTE_MS = 60000 };

static const double most = 1e9; /* of anything: far from where a double loses single tokens */
static const int64_t hour_ms = 3600000;

/* ---- rates ---- */

/* A positive decimal number such as 0.5; returns what stands behind it, or NULL. */
static const char *parse_number(const char *text, double *out)
{
    size_t len = strspn(text, "0123456789.");
    char *end;
    double n;

    if (len == 0 || len > 16)
        return NULL;
    n = strtod(text, &end);
    if (end != text + len || !(n > 0) || n > most)
        return NULL;
    *out = n;
    return end;
}

static const char *parse_unit(const char *text, int64_t *out)
{
    switch (*text) {
    case 's':
        *out = SECOND_MS;
        return text + 1;
    case 'm':
        *out = MINUTE_MS;
        return text + 1;
    case 'h':
        *out = hour_ms;
        return text + 1;
    default:
        return NULL;
    }
}

enum status rate_parse(const char *text, struct rate *out, struct error *err)
{
    const char *at;
    double count = 0;
    double burst;
    int64_t unit_ms = 0;

    if (!*text || strcmp(text, "off") == 0) {
        *out = (struct rate){0};
        return OK;
    }
    at = parse_number(text, &count);
    if (at && *at++ == '/')
        at = parse_unit(at, &unit_ms);
    else
        at = NULL;
    burst = count < 1 ? 1 : count;
    if (at && *at == ':')
        at = parse_number(at + 1, &burst);
    if (!at || *at || burst < 1)
        return fail(err, INVALID, "\"%.64s\" is not a rate such as 10/s:20 or 100/m", text);
    *out = (struct rate){.per_ms = count / (double)unit_ms, .burst = burst};
    return OK;
}

/* ---- a bucket ---- */

static void refill(struct rate_bucket *bucket, const struct rate *rate, int64_t now_ms)
{
    if (bucket->at_ms == 0)
        bucket->tokens = rate->burst;
    else if (now_ms > bucket->at_ms)
        bucket->tokens += (double)(now_ms - bucket->at_ms) * rate->per_ms;
    if (bucket->tokens > rate->burst)
        bucket->tokens = rate->burst;
    bucket->at_ms = now_ms;
}

/* What is missing by rounding only is not waited for. */
static const double nearly = 1e-9;

int64_t rate_bucket_take(struct rate_bucket *bucket, const struct rate *rate, int64_t now_ms)
{
    double wait_ms;

    if (rate->burst <= 0)
        return 0;
    refill(bucket, rate, now_ms);
    if (bucket->tokens + nearly >= 1) {
        bucket->tokens -= 1;
        return 0;
    }
    wait_ms = (1 - bucket->tokens - nearly) / rate->per_ms;
    return (int64_t)wait_ms + 1;
}

/* ---- buckets by name ---- */

struct named_bucket {
    struct named_bucket *next;          /* in its slot */
    struct named_bucket *older, *newer; /* by last use */
    struct rate_bucket bucket;
    uint64_t hash;
    char name[];
};

struct rate_table {
    struct named_bucket **slots; /* a power of two of them */
    size_t slot_count;
    size_t count;
    size_t max;
    struct named_bucket *oldest, *newest;
    uint64_t seed; /* names come from outside: nobody can tell which share a slot */
};

struct rate_table *rate_table_create(size_t max_buckets)
{
    struct rate_table *table = mem_alloc(sizeof(*table));

    table->max = max_buckets;
    table->slot_count = FIRST_SLOTS;
    table->slots = mem_alloc(table->slot_count * sizeof(*table->slots));
    random_bytes(&table->seed, sizeof(table->seed));
    return table;
}

void rate_table_free(struct rate_table *table)
{
    if (!table)
        return;
    while (table->oldest) {
        struct named_bucket *bucket = table->oldest;

        table->oldest = bucket->newer;
        free(bucket);
    }
    free(table->slots);
    free(table);
}

size_t rate_table_len(const struct rate_table *table)
{
    return table->count;
}

/* FNV-1a, begun with the seed, and stirred at the end. */
static uint64_t hash_name(const struct rate_table *table, const char *name)
{
    uint64_t hash = table->seed ^ 0xcbf29ce484222325u;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

static struct named_bucket **slot_of(const struct rate_table *table, uint64_t hash)
{
    return &table->slots[hash & (table->slot_count - 1)];
}

static void unlink_use(struct rate_table *table, struct named_bucket *bucket)
{
    if (table->oldest == bucket)
        table->oldest = bucket->newer;
    else
        bucket->older->newer = bucket->newer;
    if (bucket->newer)
        bucket->newer->older = bucket->older;
    else
        table->newest = bucket->older;
}

static void link_newest(struct rate_table *table, struct named_bucket *bucket)
{
    bucket->older = table->newest;
    bucket->newer = NULL;
    if (table->newest)
        table->newest->newer = bucket;
    else
        table->oldest = bucket;
    table->newest = bucket;
}

static void drop(struct rate_table *table, struct named_bucket *bucket)
{
    struct named_bucket **link = slot_of(table, bucket->hash);

    while (*link != bucket)
        link = &(*link)->next;
    *link = bucket->next;
    unlink_use(table, bucket);
    table->count--;
    free(bucket);
}

/* A few at each take keep up with what is added, one at each take. */
static void drop_full(struct rate_table *table, const struct rate *rate, int64_t now_ms)
{
    struct named_bucket *bucket = table->oldest;

    for (int i = 0; i < DROPS_PER_TAKE && bucket; i++) {
        struct named_bucket *newer = bucket->newer;

        refill(&bucket->bucket, rate, now_ms);
        if (bucket->bucket.tokens < rate->burst)
            return;
        drop(table, bucket);
        bucket = newer;
    }
}

static void grow(struct rate_table *table)
{
    table->slot_count *= 2;
    table->slots = mem_realloc(table->slots, table->slot_count * sizeof(*table->slots));
    memset(table->slots, 0, table->slot_count * sizeof(*table->slots));
    for (struct named_bucket *it = table->oldest; it; it = it->newer) {
        struct named_bucket **slot = slot_of(table, it->hash);

        it->next = *slot;
        *slot = it;
    }
}

static struct named_bucket *add(struct rate_table *table, uint64_t hash, const char *name)
{
    size_t len = strlen(name);
    struct named_bucket *bucket;
    struct named_bucket **slot;

    if (table->count >= table->max && table->oldest)
        drop(table, table->oldest);
    if (table->count >= table->slot_count)
        grow(table);
    bucket = mem_alloc(sizeof(*bucket) + len + 1);
    memcpy(bucket->name, name, len + 1);
    bucket->hash = hash;
    slot = slot_of(table, hash);
    bucket->next = *slot;
    *slot = bucket;
    link_newest(table, bucket);
    table->count++;
    return bucket;
}

static struct named_bucket *find(const struct rate_table *table, uint64_t hash, const char *name)
{
    struct named_bucket *bucket = *slot_of(table, hash);

    while (bucket && (bucket->hash != hash || strcmp(bucket->name, name) != 0))
        bucket = bucket->next;
    return bucket;
}

int64_t rate_table_take(struct rate_table *table, const struct rate *rate, const char *name,
                        int64_t now_ms)
{
    uint64_t hash = hash_name(table, name);
    struct named_bucket *bucket;

    if (rate->burst <= 0)
        return 0;
    drop_full(table, rate, now_ms);
    bucket = find(table, hash, name);
    if (bucket) {
        unlink_use(table, bucket);
        link_newest(table, bucket);
    } else {
        bucket = add(table, hash, name);
    }
    return rate_bucket_take(&bucket->bucket, rate, now_ms);
}

/* ---- limits of routes ---- */

/* "name=rate" without the comma. */
static enum status parse_route(const char *text, size_t len, struct rate_route *out,
                               struct error *err)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : 0;
    char rate[RATE_ROUTE_BYTES];
    enum status st;

    if (name_len == 0 || name_len >= sizeof(out->name) || len - name_len > sizeof(rate))
        return fail(err, INVALID, "\"%.*s\" is not a route and its rate such as chat=2/s:5",
                    (int)(len < 64 ? len : 64), text);
    memcpy(rate, equals + 1, len - name_len - 1);
    rate[len - name_len - 1] = '\0';
    *out = (struct rate_route){0};
    memcpy(out->name, text, name_len);
    st = rate_parse(rate, &out->rate, err);
    return st == OK ? OK : fail_context(err, "route %s", out->name);
}

enum status rate_routes_parse(const char *text, struct rate_routes *out, struct error *err)
{
    struct rate_routes routes = {0};

    while (*text) {
        size_t len;
        enum status st;

        text += strspn(text, " ,");
        len = strcspn(text, " ,");
        if (len == 0)
            break;
        if (routes.count == RATE_ROUTES)
            return fail(err, INVALID, "more than %d routes have a rate", RATE_ROUTES);
        st = parse_route(text, len, &routes.items[routes.count], err);
        if (st != OK)
            return st;
        routes.count++;
        text += len;
    }
    *out = routes;
    return OK;
}

int64_t rate_routes_take(struct rate_routes *routes, const char *name, int64_t now_ms)
{
    for (size_t i = 0; i < routes->count; i++) {
        struct rate_route *route = &routes->items[i];

        if (strcmp(route->name, name) == 0)
            return rate_bucket_take(&route->bucket, &route->rate, now_ms);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cloudwatch.c - the metrics of API Gateway WebSocket APIs, under their names in CloudWatch.
 *
 * Only the series by route are written.  CloudWatch also has them by API and by stage; a reader of
 * Prometheus text gets those as sums.
 */
#include "cloudwatch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROUTES = 300 }; /* as many as an API of API Gateway may have */

static const char other_route[] = "$other";
static const char no_route[] = "-";

struct series {
    char *route;
    uint64_t counts[CLOUDWATCH_METRICS];
    uint64_t latency_sum_ms;
    uint64_t latency_count;
};

struct cloudwatch {
    char *api_id;
    char *stage;
    size_t count;
    size_t named_count;                   /* of them, without "$other" */
    struct series routes[MAX_ROUTES + 1]; /* sorted by name; one more for "$other" */
};

struct cloudwatch *cloudwatch_create(const char *api_id, const char *stage)
{
    struct cloudwatch *cloudwatch = mem_alloc(sizeof(*cloudwatch));

    cloudwatch->api_id = mem_strdup(api_id);
    cloudwatch->stage = mem_strdup(stage);
    return cloudwatch;
}

void cloudwatch_free(struct cloudwatch *cloudwatch)
{
    if (!cloudwatch)
        return;
    for (size_t i = 0; i < cloudwatch->count; i++)
        free(cloudwatch->routes[i].route);
    free(cloudwatch->api_id);
    free(cloudwatch->stage);
    free(cloudwatch);
}

/* ---- counting ---- */

/* Where the route is, or belongs; *is_there says which. */
static size_t find_route(const struct cloudwatch *cloudwatch, const char *route, bool *is_there)
{
    size_t low = 0;
    size_t high = cloudwatch->count;

    *is_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int difference = strcmp(route, cloudwatch->routes[middle].route);

        if (difference == 0)
            *is_there = true;
        if (difference <= 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static struct series *insert_route(struct cloudwatch *cloudwatch, size_t at, const char *route)
{
    struct series *series = &cloudwatch->routes[at];

    memmove(series + 1, series, (cloudwatch->count - at) * sizeof(*series));
    *series = (struct series){.route = mem_strdup(route)};
    cloudwatch->count++;
    return series;
}

/* Names may come from clients (a route schema may have any number of functions), series stay for
 * good: there is a limit. */
static struct series *series_of(struct cloudwatch *cloudwatch, const char *route)
{
    const char *name = route ? route : no_route;
    bool is_there;
    size_t at = find_route(cloudwatch, name, &is_there);

    if (is_there)
        return &cloudwatch->routes[at];
    if (strcmp(name, other_route) != 0 && cloudwatch->named_count < MAX_ROUTES) {
        cloudwatch->named_count++;
        return insert_route(cloudwatch, at, name);
    }
    at = find_route(cloudwatch, other_route, &is_there);
    return is_there ? &cloudwatch->routes[at] : insert_route(cloudwatch, at, other_route);
}

void cloudwatch_add_route(struct cloudwatch *cloudwatch, const char *route)
{
    (void)series_of(cloudwatch, route);
}

void cloudwatch_count(struct cloudwatch *cloudwatch, const char *route,
                      enum cloudwatch_metric metric)
{
    series_of(cloudwatch, route)->counts[metric]++;
}

void cloudwatch_latency(struct cloudwatch *cloudwatch, const char *route, int64_t latency_ms)
{
    struct series *series = series_of(cloudwatch, route);

    series->latency_sum_ms += latency_ms > 0 ? (uint64_t)latency_ms : 0;
    series->latency_count++;
}

/* ---- which event counts as what ---- */

static unsigned messages_of(const struct cloudwatch_event *event)
{
    switch (event->kind) {
    case CLOUDWATCH_CONNECT:
        return event->outcome == CLOUDWATCH_REFUSED ? 0 : 1;
    case CLOUDWATCH_MESSAGE:
        return event->is_two_way ? 2 : 1;
    case CLOUDWATCH_DISCONNECT:
        return 1;
    case CLOUDWATCH_CONNECTION_API:
        return event->outcome == CLOUDWATCH_OK && event->route &&
               strncmp(event->route, "POST ", 5) == 0;
    }
    return 0;
}

static void count_outcome(struct series *series, enum cloudwatch_outcome outcome)
{
    switch (outcome) {
    case CLOUDWATCH_OK:
        break;
    case CLOUDWATCH_REFUSED:
    case CLOUDWATCH_DENIED:
        series->counts[CLOUDWATCH_CLIENT_ERROR]++;
        break;
    case CLOUDWATCH_INTEGRATION_FAILED:
        series->counts[CLOUDWATCH_INTEGRATION_ERROR]++;
        break;
    case CLOUDWATCH_EXECUTION_FAILED:
        series->counts[CLOUDWATCH_EXECUTION_ERROR]++;
        break;
    }
}

void cloudwatch_event(struct cloudwatch *cloudwatch, const struct cloudwatch_event *event)
{
    struct series *series = series_of(cloudwatch, event->route);

    if (event->kind == CLOUDWATCH_CONNECT && event->outcome != CLOUDWATCH_REFUSED)
        series->counts[CLOUDWATCH_CONNECT_COUNT]++;
    series->counts[CLOUDWATCH_MESSAGE_COUNT] += messages_of(event);
    count_outcome(series, event->outcome);
    if (event->latency_ms >= 0 && event->kind != CLOUDWATCH_CONNECTION_API)
        cloudwatch_latency(cloudwatch, event->route, event->latency_ms);
}

/* ---- Prometheus text ---- */

/* As the text format wants it: backslash, quote and line feed. */
static void add_label(struct buf *out, const char *name, const char *value)
{
    buf_adds(out, name);
    buf_adds(out, "=\"");
    for (; *value; value++) {
        if (*value == '\n')
            buf_adds(out, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_addf(out, "\\%c", *value);
        else
            buf_addc(out, *value);
    }
    buf_addc(out, '"');
}

static void write_sample(const struct cloudwatch *cloudwatch, const char *metric,
                         const struct series *series, uint64_t value, struct buf *out)
{
    buf_adds(out, metric);
    add_label(out, "{ApiId", cloudwatch->api_id);
    add_label(out, ",Stage", cloudwatch->stage);
    add_label(out, ",Route", series->route);
    buf_addf(out, "} %" PRIu64 "\n", value);
}

/* Connects are counted on $connect alone; the others are there with 0 for every route. */
static bool has_sample(const struct series *series, enum cloudwatch_metric metric)
{
    return metric != CLOUDWATCH_CONNECT_COUNT || series->counts[metric] ||
           strcmp(series->route, "$connect") == 0;
}

static void write_counter(const struct cloudwatch *cloudwatch, enum cloudwatch_metric metric,
                          struct buf *out)
{
    static const struct {
        const char *name;
        const char *help;
    } rows[CLOUDWATCH_METRICS] = {
        [CLOUDWATCH_CONNECT_COUNT] = {"ConnectCount", "Connects sent to the $connect route."},
        [CLOUDWATCH_MESSAGE_COUNT] = {"MessageCount", "Messages from and to clients."},
        [CLOUDWATCH_INTEGRATION_ERROR] = {"IntegrationError", "Integrations that failed."},
        [CLOUDWATCH_CLIENT_ERROR] = {"ClientError", "Requests answered with a 4xx status."},
        [CLOUDWATCH_EXECUTION_ERROR] = {"ExecutionError",
                                        "Calls of integrations that failed or came back with 5xx."},
    };
    const char *name = rows[metric].name;

    buf_addf(out, "# HELP %s %s\n# TYPE %s counter\n", name, rows[metric].help, name);
    for (size_t i = 0; i < cloudwatch->count; i++) {
        const struct series *series = &cloudwatch->routes[i];

        if (has_sample(series, metric))
            write_sample(cloudwatch, name, series, series->counts[metric], out);
    }
}

static void write_latency(const struct cloudwatch *cloudwatch, struct buf *out)
{
    buf_adds(out, "# HELP IntegrationLatency Time that integrations took, in milliseconds.\n"
                  "# TYPE IntegrationLatency summary\n");
    for (size_t i = 0; i < cloudwatch->count; i++) {
        const struct series *series = &cloudwatch->routes[i];

        if (!series->latency_count)
            continue;
        write_sample(cloudwatch, "IntegrationLatency_sum", series, series->latency_sum_ms, out);
        write_sample(cloudwatch, "IntegrationLatency_count", series, series->latency_count, out);
    }
}

void cloudwatch_write(const struct cloudwatch *cloudwatch, struct buf *out)
{
    for (int metric = 0; metric < CLOUDWATCH_METRICS; metric++)
        write_counter(cloudwatch, (enum cloudwatch_metric)metric, out);
    write_latency(cloudwatch, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - the Prometheus text of the counters and gauges.
 *
 * A number of struct metrics without a row here would be counted in vain: the assertion below has
 * them be as many.
 */
#include "metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum kind { COUNTER, GAUGE };

struct metric {
    size_t offset;
    enum kind kind;
    const char *name;
    const char *help;
};

/* clang-format off */
#define METRIC(member, kind, name, help) {offsetof(struct metrics, member), kind, name, help}

static const struct metric table[] = {
    METRIC(connects, COUNTER, "connects", "Handshakes that reached the gateway."),
    METRIC(connects_accepted, COUNTER, "connects_accepted", "Handshakes answered with 101."),
    METRIC(connects_refused, COUNTER, "connects_refused", "Handshakes that a route refused."),
    METRIC(connects_failed, COUNTER, "connects_failed", "Handshakes answered with a 5xx status."),
    METRIC(connects_malformed, COUNTER, "connects_malformed", "Requests answered 4xx before an event was made."),
    METRIC(disconnects, COUNTER, "disconnects", "Connections that ended."),
    METRIC(messages_in, COUNTER, "messages_in", "Messages from clients."),
    METRIC(messages_out, COUNTER, "messages_out", "Messages queued to clients."),
    METRIC(bytes_in, COUNTER, "bytes_in", "Payload bytes from clients."),
    METRIC(bytes_out, COUNTER, "bytes_out", "Bytes written to clients."),
    METRIC(route_errors, COUNTER, "route_errors", "Events whose route raised an error."),
    METRIC(route_timeouts, COUNTER, "route_timeouts", "Events whose route took too long."),
    METRIC(forbidden, COUNTER, "forbidden", "Messages that no route matched."),
    METRIC(slow_closed, COUNTER, "slow_closed", "Connections closed because their queue was full."),
    METRIC(published_delivered, COUNTER, "published_delivered", "Log entries applied by the follower."),
    METRIC(touches, COUNTER, "touches", "Writes of a connection's last activity."),
    METRIC(database_reconnects, COUNTER, "database_reconnects", "Database connections made again."),
    METRIC(database_errors, COUNTER, "database_errors", "Statements that failed."),
    METRIC(register_batches, COUNTER, "register_batches", "Calls that registered connections."),
    METRIC(message_batches, COUNTER, "message_batches", "Transactions that messages shared."),
    METRIC(message_batches_failed, COUNTER, "message_batches_failed", "Of these, undone: each message ran again alone."),
    METRIC(cleanup_expired, COUNTER, "cleanup_expired", "Connections that the cleanup found expired."),
    METRIC(cleanup_orphaned, COUNTER, "cleanup_orphaned", "Connections of dead nodes that were deactivated."),
    METRIC(cleanup_deleted, COUNTER, "cleanup_deleted", "Inactive connections and keys of sends that were deleted."),
    METRIC(slow_turns, COUNTER, "slow_turns", "Turns of the loop longer than 50 ms."),
    METRIC(posts, COUNTER, "posts", "POST requests to @connections."),
    METRIC(messages_replayed, COUNTER, "messages_replayed", "Messages of the log sent to clients that resumed."),
    METRIC(throttled, COUNTER, "throttled", "Handshakes and messages past a rate limit."),
    METRIC(sender_sent, COUNTER, "sender_sent", "Messages that a gateway's @connections took."),
    METRIC(sender_gone, COUNTER, "sender_gone", "Messages to connections that were gone."),
    METRIC(sender_failed, COUNTER, "sender_failed", "Messages that @connections refused, or that were not sent in time."),
    METRIC(sender_throttled, COUNTER, "sender_throttled", "Tries that @connections answered with 429."),
    METRIC(open_connections, GAUGE, "open_connections", "Open WebSocket connections."),
    METRIC(pending_handshakes, GAUGE, "pending_handshakes", "Handshakes under way."),
    METRIC(events_in_flight, GAUGE, "events_in_flight", "Events that a route is working on."),
    METRIC(database_connected, GAUGE, "database_connected", "Database connections that are ready."),
    METRIC(ready, GAUGE, "ready", "1 while /ready answers 200."),
    METRIC(log_seq, GAUGE, "log_seq", "Number of the last log entry delivered."),
    METRIC(uptime_s, GAUGE, "uptime_seconds", "Seconds since the start."),
};
/* clang-format on */

static_assert(sizeof(struct metrics) == ARRAY_LEN(table) * sizeof(uint64_t),
              "a metric has no row in the table");

static uint64_t value_of(const struct metrics *metrics, const struct metric *metric)
{
    uint64_t value;

    memcpy(&value, (const char *)metrics + metric->offset, sizeof(value));
    return value;
}

/* Resident memory: the second number of statm, in pages; 0 where there is no /proc. */
static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    uint64_t pages = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%*u %" SCNu64, &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void write_metric(struct buf *out, const struct metric *metric, uint64_t value)
{
    const char *suffix = metric->kind == COUNTER ? "_total" : "";

    buf_addf(out, "# HELP switchboard_%s%s %s\n", metric->name, suffix, metric->help);
    buf_addf(out, "# TYPE switchboard_%s%s %s\n", metric->name, suffix,
             metric->kind == COUNTER ? "counter" : "gauge");
    buf_addf(out, "switchboard_%s%s %" PRIu64 "\n", metric->name, suffix, value);
}

void metrics_write(const struct metrics *metrics, struct buf *out)
{
    static const struct metric resident = {0, GAUGE, "resident_memory_bytes",
                                           "Memory of the process."};

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        write_metric(out, &table[i], value_of(metrics, &table[i]));
    write_metric(out, &resident, resident_bytes());
    buf_adds(out, "# HELP switchboard_build_info The version as a label.\n"
                  "# TYPE switchboard_build_info gauge\n"
                  "switchboard_build_info{version=\"" SWITCHBOARD_VERSION "\"} 1\n");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - counters and gauges, and their Prometheus text.
 *
 * A struct of integers that modules bump directly; one table (metrics.c) gives each its name, kind
 * and help.  Loop thread only.
 */
#pragma once

#include "buf.h"

struct metrics {
    /* counters */
    uint64_t connects;           /* handshakes that reached the gateway */
    uint64_t connects_accepted;  /* answered 101 */
    uint64_t connects_refused;   /* by a route, with its own status */
    uint64_t connects_failed;    /* 5xx */
    uint64_t connects_malformed; /* answered 4xx before an event was made */
    uint64_t disconnects;
    uint64_t messages_in;
    uint64_t messages_out; /* messages queued to sockets */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t route_errors; /* events whose route raised an error */
    uint64_t route_timeouts;
    uint64_t forbidden;           /* no route matched */
    uint64_t slow_closed;         /* closed because max_queue_bytes was reached */
    uint64_t published_delivered; /* log entries applied by the follower */
    uint64_t touches;
    uint64_t database_reconnects;
    uint64_t database_errors;
    uint64_t register_batches;
    uint64_t message_batches;
    uint64_t message_batches_failed;
    uint64_t cleanup_expired;
    uint64_t cleanup_orphaned;
    uint64_t cleanup_deleted;
    uint64_t slow_turns;
    uint64_t posts;             /* management API POSTs */
    uint64_t messages_replayed; /* to clients that resumed */
    uint64_t throttled;         /* handshakes and messages past a rate limit */
    uint64_t sender_sent;       /* messages that somebody else's @connections took */
    uint64_t sender_gone;       /* to connections that were gone */
    uint64_t sender_failed;     /* refused, or not sent in time */
    uint64_t sender_throttled;  /* answers 429 */
    /* gauges */
    uint64_t open_connections;
    uint64_t pending_handshakes;
    uint64_t events_in_flight;
    uint64_t database_connected; /* database connections that are ready */
    uint64_t ready;
    uint64_t log_seq; /* last seq delivered */
    uint64_t uptime_s;
};

/* Prometheus text format 0.0.4, every metric as switchboard_<name>[_total], plus build info and
 * resident memory. */
void metrics_write(const struct metrics *metrics, struct buf *out);

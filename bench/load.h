/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - the options of the load generator, and its modes.
 *
 * A mode opens its connections, runs, and prints one JSON object; a frame that is wrong, missing or
 * too much ends the process before.
 */
#pragma once

#include "load_base.h"
#include "peer.h"

enum { HEADERS = 8 };

struct options {
    const char *host;
    const char *ports; /* one, or several with commas between: connections take turns */
    const char *path;
    const char *header[HEADERS];
    size_t headers;
    const char *greeting;
    const char *setup;
    const char *setup_reply;
    const char *allow;
    size_t connections;
    size_t opening;
    size_t first_number;
    size_t pad;
    double seconds;
    double warmup;
    double timeout;

    const char *send;
    const char *expect;
    size_t outstanding;
    size_t in_flight;
    size_t mixed; /* not 0: an answer may come to another connection than the one that asked */
    size_t idle;
    double repeat_seconds;

    const char *publish;
    const char *publish_path;
    const char *publish_ports;
    const char *publish_setup;
    const char *publish_setup_reply;
    const char *publish_reply;
    const char *publish_header[HEADERS];
    size_t publish_headers;
    size_t publish_connections;
    bool publisher_hears;
    bool is_unordered;

    size_t publishers;
    size_t topics;
    size_t topic_size;
    const char *reply;
    const char *subscriber_path;
    const char *subscriber_ports;
    const char *subscriber_setup;
    const char *subscriber_setup_reply;
};

/* The run of one mode: what its connections have in common. */
struct load {
    const struct options *options;
    struct peers *peers;
};

/* For surplus frames to come, after everything that was expected has: they fail the run. */
void load_settle(struct load *load);

double load_seconds_since(const struct load *load, uint64_t begin_ns);
uint64_t load_ns(double seconds);

/* The result, after name and braces: {"messages":..,"seconds":..}. */
void load_print_result(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void load_storm(struct load *load);
void load_echo(struct load *load);
void load_fanout(struct load *load);
void load_publish(struct load *load);
void load_listen(struct load *load);
void load_idle(struct load *load);

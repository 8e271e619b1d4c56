/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delivery.h - deliveries to the sockets of this process, and to other nodes through the log.
 */
#pragma once

#include "base.h"

struct connection;
struct connections;
struct metrics;

enum delivery_kind {
    DELIVERY_REPLY,      /* to the connection of the event */
    DELIVERY_CONNECTION, /* target: a connection id */
    DELIVERY_USER,       /* target: a user id */
    DELIVERY_TOPIC,      /* target: a topic */
    DELIVERY_ALL,        /* every open connection */
    DELIVERY_CLOSE /* target: a connection id, or NULL for the event's; payload {"code","reason"} */
};

struct delivery {
    enum delivery_kind kind;
    const char *target;
    const char *payload;
    size_t payload_len;
    const char *except; /* a connection id that does not get it, or NULL */
    int64_t seq;        /* of a message in the log; 0: ephemeral, or not to be numbered */
};

/* False when the word is none of reply connection user topic all close. */
bool delivery_kind_parse(const char *word, enum delivery_kind *out);
const char *delivery_kind_name(enum delivery_kind kind);

struct delivery_context {
    struct connections *connections;
    struct metrics *metrics;
};

/* Delivers to the sockets of this process and returns how many connections took it.  origin: the
 * connection of the event, or NULL. */
size_t deliver(const struct delivery_context *context, struct connection *origin,
               const struct delivery *delivery);

/* True when some of its receivers may be on other nodes (a connection that is not here, a user, a
 * topic, all). */
bool delivery_may_be_remote(const struct delivery_context *context,
                            const struct delivery *delivery);

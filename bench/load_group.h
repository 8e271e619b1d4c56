/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_group.h - connections that are opened and set up alike: "the subscribers".
 *
 * A connection is ready after the 101, the greeting, and the answer to its setup text, as far as
 * these were asked for.  From then on its frames are for the mode's on_text.
 */
#pragma once

#include "load.h"
#include "load_text.h"

struct group;

struct group_plan {
    const char *name;  /* of one connection, in messages: "subscriber" */
    const char *ports; /* NULL here and below: as the options that all modes have say */
    const char *path;
    const char *setup;
    const char *setup_reply;
    size_t count;
    size_t topic_size; /* {t} in path, setup and its reply is the number through this; 0: it is 0 */
    size_t topics;     /* or, when this is not 0, the number modulo this */
    bool is_bare;      /* no setup, unless named here */
    void (*on_text)(void *ctx, struct peer *peer, const char *text, size_t len);
    void (*on_ready)(void *ctx, struct peer *peer); /* may be NULL */
    void *ctx;
};

enum { GROUP_PORTS = 16 };

struct group {
    struct load *load;
    struct group_plan plan;
    struct text request;
    struct text setup;
    bool has_setup;
    struct text greeting; /* prefixes of what comes; empty: nothing is waited for */
    struct text setup_reply;
    const char *allow;
    struct sockaddr_in server[GROUP_PORTS];
    size_t servers;
    struct peer_events events;
    struct peer *peer; /* plan.count of them */
    struct bytes scratch;
    size_t started;
    size_t ready;
};

/* Does not connect anything yet. */
void group_init(struct group *group, struct load *load, const struct group_plan *plan);
void group_done(struct group *group); /* after peers_free */

/* Opens all, `opening` at a time, and returns when all are ready. */
void group_open(struct group *group);

/* Opens one, {c} in path, setup and its reply being `number`. */
void group_open_peer(struct group *group, struct peer *peer, size_t number);

/* Puts the addresses for "8080,8081" into server; returns how many. */
size_t group_read_ports(const char *host, const char *ports, struct sockaddr_in *server);

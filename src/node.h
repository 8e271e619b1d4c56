/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - this process as a row in websocket_nodes: its lease, and housekeeping.
 *
 * A node registers when the database is there, renews its lease every third of lease_ms, and after
 * an outage has every open connection registered again.  With every heartbeat it asks what the
 * schemas of routes want to be set ("$settings"), the first time before anybody connects.  While it
 * serves it cleans up every cleanup_interval_s: in bounded batches, one after the other, so that
 * connects are never held up.
 */
#pragma once

#include "base.h"

struct backend;
struct config;
struct follower;
struct loop;
struct metrics;
struct node;
struct profile_settings;
struct store;

struct node_env {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct backend *backend;
    struct follower *follower;
    struct metrics *metrics;
    struct profile_settings *settings; /* renewed in place, with every heartbeat */
    const char *node_id;
    const char *node_name;
    const char *endpoint;
    void (*on_settings)(void *ctx);   /* they have changed */
    void (*on_registered)(void *ctx); /* once: the log's end is known, dead rows are put right */
    void (*on_left)(void *ctx);       /* the answer to node_leave */
    void *ctx;
};

struct node *node_create(const struct node_env *env) MUST_USE;
void node_free(struct node *node);
/* The follower's lane came up or went down. */
void node_database_is_up(struct node *node, bool is_up);
/* Ends the lease; on_left comes when the database has taken it, or cannot. */
void node_leave(struct node *node);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the database as the program sees it: lanes of pipelined connections that come back.
 *
 * Lanes: CONTROL (array functions: register, deregister, touch, leases, cleanup), FOLLOWER
 * (sequencer, log, LISTEN) and EVENT (one transaction per message event, several connections). Each
 * connection reconnects by itself with jittered back-off; one warning per outage.
 */
#pragma once

#include "base.h"
#include "pg.h"

struct config;
struct loop;
struct metrics;
struct store;

enum store_lane { STORE_CONTROL, STORE_FOLLOWER, STORE_EVENT };

enum { STORE_ANY_SLOT = -1 };

struct store_events {
    /* A lane came up (every time) or went down.  For EVENT: the first one up, the last one down. */
    void (*on_lane)(void *ctx, enum store_lane lane, bool is_up);
    void (*on_notify)(void *ctx, const char *channel, const char *payload);
};

/* One connection for all lanes, that a pooler may be in front of (pg_options.call_sql): for a
 * process that handles one event at a time and is frozen in between. */
struct store *store_create_single(struct loop *loop, const struct config *config,
                                  struct metrics *metrics, const struct store_events *events,
                                  void *ctx) MUST_USE;
/* Before a single store is used again: a connection that died meanwhile is noticed here, and one
 * that is down connects at once instead of when its back-off is over.  True when it is up. */
bool store_check(struct store *store);
/* When statements of a single store end that are sent from now on (clock_mono_ms()): an invocation
 * has a deadline.  None takes more than integration_timeout_ms. */
void store_limit(struct store *store, int64_t deadline_ms);

struct store *store_create(struct loop *loop, const struct config *config, struct metrics *metrics,
                           const struct store_events *events, void *ctx) MUST_USE;
/* Closes every connection for good: what is under way is answered with UNAVAILABLE, and so is, at
 * the end of the turn, what is asked from now on. */
void store_close(struct store *store);
void store_free(struct store *store); /* closes first */

bool store_is_up(const struct store *store, enum store_lane lane);

/* Picks an EVENT slot: the one with the least in flight, avoiding one whose oldest call is slow.
 * -1 when none is up. */
int store_pick_slot(const struct store *store);
/* The same without the slots whose bits are set in but: 1 << slot. */
int store_pick_slot_but(const struct store *store, uint64_t but);
/* How many EVENT slots there are, up or not; 0 in a single store, where all is one. */
size_t store_slot_count(const struct store *store);

/* One statement.  name and sql are constants of the caller's; name NULL: not prepared. */
struct store_query {
    enum store_lane lane;
    int slot; /* only for STORE_EVENT; STORE_ANY_SLOT: picked here */
    const char *name;
    const char *sql;
    const char *const *params; /* texts; NULL is SQL null; copied */
    size_t param_count;
};

/* As pg_call; a lane that is down answers UNAVAILABLE at the end of the turn. */
void store_call(struct store *store, const struct store_query *query, pg_done *done, void *ctx);

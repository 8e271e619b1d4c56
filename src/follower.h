/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follower.h - the part of a node that runs the sequencer and reads the log.
 *
 * One statement does both: switchboard.follow_messages(cursor, ...) moves what is in the outbox to
 * the log and returns what comes after the cursor.  Woken by notifications, by routes of this node
 * that published, after waking a few more times at growing distances (a publisher may commit after
 * the one that notified), and once a second.  The cursor lives here, so nothing is skipped or
 * repeated when the database goes away.
 */
#pragma once

#include "base.h"

struct config;
struct connections;
struct follower;
struct loop;
struct metrics;
struct replays;
struct store;

struct follower_env {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct connections *connections;
    struct replays *replays;
    struct metrics *metrics;
    const char *node_id;
};

struct follower *follower_create(const struct follower_env *env) MUST_USE;
void follower_free(struct follower *follower);

/* Where to begin: the log's end when the node was registered.  Following starts here. */
void follower_start(struct follower *follower, int64_t seq, const char *since);
/* There may be something to sequence or to read: a call at the end of the turn. */
void follower_wake(struct follower *follower);

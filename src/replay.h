/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - what a client missed: published messages from the log, then live, without gap or
 * duplicate.
 *
 * A connection that resumes names topics and, for each, the seq of the last message it has.  From
 * then on what the follower delivers for these topics is held back, because it is in the log; pages
 * of the log are read up to the follower's cursor and sent as fast as the client takes them; what
 * the follower delivers while the last page is on its way is kept, sent behind it, and the
 * connection is live.  The follower runs on the same thread, so the cursor is exact.
 *
 * One struct replay for each connection that is replaying.  Only so many pages are read at a time.
 */
#pragma once

#include "base.h"

struct config;
struct connection;
struct connections;
struct json;
struct loop;
struct metrics;
struct replay;
struct replays;
struct store;

struct replays_env {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct connections *connections;
    struct metrics *metrics;
};

struct replays *replays_create(const struct replays_env *env) MUST_USE;
/* After the store has been closed, before the connections are freed. */
void replays_free(struct replays *replays);

/* The follower has delivered everything up to seq. */
void replays_set_cursor(struct replays *replays, int64_t seq);

/* The client asks while it connects (topics: an object of numbers): its frames carry seq from the
 * first one on, and these topics are held back until its resume route has said which it may have.
 * False, and nothing happens, when topics is something else. */
bool replay_expect(struct replays *replays, struct connection *connection,
                   const struct json *topics);
/* The resume route is through: what it did not grant is not held back any more. */
void replay_settle(struct connection *connection);

/* The resume route grants {"topics":{"<topic>":<seq>}}; INVALID when payload is something else.
 * Topics that are being replayed already begin anew at that seq. */
enum status replay_start(struct replays *replays, struct connection *connection,
                         const char *payload, size_t len, struct error *err) MUST_USE;

/* A published message for a member of the topic: true when the replay has taken care of it. */
bool replay_holds(struct connection *connection, const char *topic, int64_t seq, const char *frame,
                  size_t len);
/* It has left the topic: nothing of it is replayed any more. */
void replay_leave(struct connection *connection, const char *topic);
/* The connection has ended. */
void replay_stop(struct connection *connection);

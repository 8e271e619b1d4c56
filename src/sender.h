/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender.h - the client of @connections: how frames leave when somebody else holds the sockets.
 *
 * What goes to one connection goes in order, one at a time; different connections go side by side,
 * at most sender_parallel of them.  Requests are signed (SigV4) when there are credentials: those
 * of the settings, as Lambda puts them into the environment; roles of containers and machines are
 * not asked.  The region is the one in the endpoint's name, or else the setting.
 *
 * 410: the connection is gone, nothing more is sent to it, unless it is new: a gateway opens it
 * some time after the function has let it in.  429 and 5xx: again, after a pause with jitter, until
 * the deadline.  403: logged with its likely cause, given up; when it is about the clock, signed
 * once more with the clock read again, or with the server's if it says what that is. What broke on
 * the way is sent again: a client may then get a message twice, but not never.
 */
#pragma once

#include "base.h"

struct config;
struct http_pool;
struct loop;
struct metrics;
struct sender;

struct sender_env {
    struct loop *loop;
    const struct config *config; /* credentials, region, sender_parallel */
    struct http_pool *pool;
    struct metrics *metrics;
};

struct sender *sender_create(const struct sender_env *env) MUST_USE;
/* Before the pool is freed, not from a done.  What is open is answered with SENDER_FAILED; a done
 * that runs here must not send. */
void sender_free(struct sender *sender); /* NULL is allowed */

enum sender_result {
    SENDER_SENT,
    SENDER_GONE,    /* 410, or an id that the gateway does not know */
    SENDER_REFUSED, /* 403, 413, 400: it will not get better */
    SENDER_FAILED   /* the deadline came first: somebody else may try again */
};

enum sender_action { SENDER_POST, SENDER_DELETE };

/* Everything is copied. */
struct sender_message {
    enum sender_action action;
    const char *endpoint; /* https://host/stage */
    const char *connection_id;
    const char *payload; /* of a POST */
    size_t payload_len;
    bool is_new; /* the gateway may not know it yet: for a while, 410 is no end but another try */
    int64_t deadline_ms; /* clock_mono_ms() */
};

/* Called once, from the loop, never before sender_send returns. */
typedef void sender_done(void *ctx, enum sender_result result);
void sender_send(struct sender *sender, const struct sender_message *message, sender_done *done,
                 void *ctx);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stateless.h - events of a gateway that is not ours (API Gateway): into SQL, and out through
 * @connections.
 *
 * An event runs as it does in our own gateway, through backend.c, for a connection that has no
 * socket: what is sent to it goes to the sender.  Everything for other connections goes through the
 * log, and who delivers an entry of the log holds a claim on it with a deadline, so that what a
 * dead process left behind is delivered by the next one.
 */
#pragma once

#include "buf.h"
#include "incoming.h"

struct auth;
struct config;
struct loop;
struct metrics;
struct profile_settings;
struct sender;
struct stateless;
struct store;

struct stateless_env {
    struct loop *loop;
    const struct config *config;
    struct store *store;
    struct sender *sender;
    struct auth *auth;
    struct profile_settings *settings; /* renewed in place */
    struct metrics *metrics;
    const char *claimer; /* names this process in claims */
    /* There is something for stateless_flush, which is not to be called from here: an event may be
     * in the middle of its rows.  NULL: it is called anyway. */
    void (*on_published)(void *ctx);
    void *ctx;
};

struct stateless *stateless_create(const struct stateless_env *env) MUST_USE;
/* The end is near: nothing waits for keys, or for what is written behind an event, any longer, and
 * what is asked from now on is answered without either.  When the store is closed and the sender is
 * freed, and the loop has settled, every event has been answered. */
void stateless_close(struct stateless *stateless);
void stateless_free(
    struct stateless *stateless); /* every event must be answered; NULL is allowed */

/* What to answer the gateway: a Lambda proxy response.  Borrowed during the callback. */
struct stateless_response {
    int status;
    const char *body;        /* NULL: none */
    const char *subprotocol; /* NULL: none */
};
typedef void stateless_done(void *ctx, const struct stateless_response *response);
/* {"statusCode":...,"headers":...,"body":...} */
void stateless_write_response(const struct stateless_response *response, struct buf *out);

/* CONNECT, MESSAGE, DISCONNECT.  deadline_ms: clock_mono_ms().  done is called once, for a MESSAGE
 * after its replies are on their way to the client, for a CONNECT before (they would not find it).
 */
void stateless_event(struct stateless *stateless, const struct incoming *event, int64_t deadline_ms,
                     stateless_done *done, void *ctx);

/* A REQUEST authorizer's event: adds the policy to out and returns 200; 401 or 500 when the
 * invocation has to fail, with the message in out. */
typedef void stateless_policy_done(void *ctx, int status, const char *text);
void stateless_authorize(struct stateless *stateless, const struct incoming *event,
                         stateless_policy_done *done, void *ctx);

/* Sends what is left: frames of connections that have just been opened, and what the log has for
 * connections of this kind.  done when all is sent, or the deadline has come. */
typedef void stateless_flushed(void *ctx, size_t sent);
void stateless_flush(struct stateless *stateless, int64_t deadline_ms, stateless_flushed *done,
                     void *ctx);

/* The schedule: cleanup of connections and of the log, partitions, settings; then a flush.  done
 * gets the counts as JSON object text. */
typedef void stateless_text_done(void *ctx, const struct error *err, const char *text);
void stateless_housekeep(struct stateless *stateless, int64_t deadline_ms,
                         stateless_text_done *done, void *ctx);

/* {"op":"verify-email","email":...}, {"op":"send","userId"|"connectionId":...,"message":...},
 * {"op":"publish","topic":...,"message":...}, {"op":"deliver"}, {"op":"cleanup"} (the schedule):
 * the answer as JSON text. */
void stateless_command(struct stateless *stateless, const struct incoming *event,
                       int64_t deadline_ms, stateless_text_done *done, void *ctx);

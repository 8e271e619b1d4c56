/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connections.h - live connections and the topic index of this process.
 *
 * A connection exists from the moment its id is minted (CONNECTION_OPENING: what is published to it
 * while $connect runs is queued) until its $disconnect has been handed over.  Created and freed by
 * gateway.c.  Loop thread only.
 *
 * Topics follow the log: follower.c calls connection_subscribe/_unsubscribe.  "user:<id>" is a
 * topic like any other; "*" means every open connection and is not in the index.
 */
#pragma once

#include "buf.h"
#include "event.h"
#include "rate_limit.h"

struct connections;
struct connection;
struct message;
struct membership;
struct message_call;
struct replay;

enum connection_state {
    CONNECTION_OPENING, /* $connect runs; the handshake is held */
    CONNECTION_OPEN,    /* 101 was sent */
    CONNECTION_CLOSING, /* a close frame was sent, or will be after what is queued */
    CONNECTION_CLOSED   /* the socket is gone; $disconnect is under way */
};

enum {
    CLOSE_REASON_BYTES = 124
}; /* RFC 6455, section 5.5: 125 bytes, 2 of them the code; and a NUL */

/* How the layer that owns the socket is told; set by websocket.c when it adopts the socket. */
struct socket_ops {
    /* There is something in `out`, or has_close was set.  Called once until websocket.c has cleared
     * is_output_pending. */
    void (*on_output)(struct connection *connection);
    /* Stop reading from the peer, or go on: it sends faster than its events are answered. */
    void (*on_flow)(struct connection *connection, bool may_read);
};

struct connection {
    /* What a delivery touches stands together, in three cache lines: a fan-out goes over all
     * connections, and waits for memory more than for anything else. */
    enum connection_state state; /* changed by connection_set_state only */
    bool is_greeting;            /* until connection_release() */
    bool has_close;              /* a close frame is to be sent after `out` */
    bool is_output_pending;      /* on_output was called, the flush has not happened */
    bool is_paused;              /* on_flow(false) was called */
    bool is_ended;               /* gateway.c has handed it over to be freed */
    bool wants_seq;              /* published messages carry seq */
    int64_t last_activity_ms;    /* Unix; a message either way; what touch writes */
    int64_t last_seen_mono_ms;   /* the same and pings, pongs; monotonic, for the idle timer */
    struct buf out;              /* framed bytes for the socket; limit: max_queue_bytes */
    size_t out_sent;             /* of them: the socket has taken these, */
    size_t out_owed;             /* and the frame that it is in the middle of ends behind these */
    const struct socket_ops *socket_ops; /* NULL until adopted */
    void *socket;                        /* websocket.c's */
    struct replay *replay;               /* replay.c's; NULL when nothing is replayed */
    struct connection *all_prev, *all_next;

    const char *id; /* minted, or of another gateway */
    char minted_id[CONNECTION_ID_BYTES];
    uint32_t ordinal;        /* c-<ordinal> in logs */
    uint32_t in_flight;      /* message events that the backend has not answered */
    uint32_t calls;          /* events that integrations outside SQL have not answered */
    uint32_t held_count;     /* messages that wait for the keys of a token in one of them: */
    struct message *held;    /* gateway.c's list */
    uint32_t on_slot;        /* of in_flight, those that the database has; the others wait: */
    int slot;                /* the database slot of on_slot, while that is > 0 */
    int64_t connected_at_ms; /* Unix */
    int64_t opened_mono_ms;
    int64_t token_expires_mono_ms; /* 0: never */
    int64_t last_ping_mono_ms;     /* of ours; 0 when there was none */
    char *source_ip;
    char *user_agent; /* NULL when none */
    char *domain_name;
    char *authorizer; /* JSON object text, when integrations outside SQL see it; or NULL */
    int close_code;   /* what our close frame carries, and what $disconnect reports */
    char close_reason[CLOSE_REASON_BYTES];
    struct buf *after_greeting;                  /* sent to it while $connect runs; or NULL */
    struct membership *memberships;              /* connections.c's */
    struct rate_bucket rate;                     /* its messages */
    uint32_t throttled_count;                    /* of them past a limit, in a row */
    struct message_call *waiting, *waiting_last; /* backend_message.c's list, */
    struct connection *ready_next;               /* and its queue */
    struct connection *ended_next;               /* gateway.c's list */
    struct connection *touch_next;               /* gateway_clock.c's list, */
    struct connection **touch_link;              /* NULL when not in it */
    struct connection *wheel_next;               /* gateway_clock.c's wheel, */
    struct connection **wheel_link;              /* NULL when not in it */
};

struct connections *connections_create(size_t max_queue_bytes) MUST_USE;
void connections_free(struct connections *connections); /* there must be none left */
size_t connections_count(const struct connections *connections);

/* Mints the id. */
struct connection *connection_create(struct connections *connections) MUST_USE;
/* A connection whose socket another gateway holds: open, in no topic, and not to be found.  What is
 * sent to it collects in `out`, as frames; frame_next reads them. */
struct connection *connection_create_virtual(const char *id, size_t max_queue_bytes) MUST_USE;
void connection_free_virtual(struct connection *connection);
/* The next text message in `out`, from *at on, which moves behind it; false at the end. */
bool frame_next(const struct buf *out, size_t *at, const char **text, size_t *len);

/* Leaves every topic and frees. */
void connection_free(struct connections *connections, struct connection *connection);
void connection_set_state(struct connection *connection, enum connection_state state);

struct connection *connection_find(const struct connections *connections,
                                   const char *id); /* or NULL */
struct connection *connections_first(const struct connections *connections);
struct connection *connections_next(const struct connection *connection);
/* Has the processor fetch what a delivery to it will touch.  NULL is allowed. */
void connection_prefetch(const struct connection *connection);

/* "c-17"; borrowed from a small ring, good for one log line. */
const char *connection_tag(const struct connection *connection);

/* True when it was not a member before. */
bool connection_subscribe(struct connections *connections, struct connection *connection,
                          const char *topic);
bool connection_unsubscribe(struct connections *connections, struct connection *connection,
                            const char *topic);
bool connection_is_subscribed(const struct connection *connection, const char *topic);
/* The user whose topic ("user:<id>") it is in, or NULL; borrowed until it leaves. */
const char *connection_user_id(const struct connection *connection);
size_t topic_count(const struct connections *connections, const char *topic);
/* Calls fn for every member; fn may unsubscribe or close the one it is given. */
typedef void connection_fn(void *ctx, struct connection *connection);
void topic_each(struct connections *connections, const char *topic, connection_fn *fn, void *ctx);
/* Calls fn for each topic of a connection (for registering again after an outage). */
typedef void topic_fn(void *ctx, const char *topic);
void connection_each_topic(const struct connection *connection, topic_fn *fn, void *ctx);

/* Queues one text message, framed (RFC 6455, section 5.2, unmasked, one frame).  GONE when the
 * connection is closing or closed; LIMIT when its queue is full: it is then closing with 1008. */
enum status connection_send(struct connection *connection, const char *text, size_t len) MUST_USE;
/* The same for a message that was framed once for many. */
enum status connection_send_frame(struct connection *connection, const char *frame,
                                  size_t len) MUST_USE;
/* The same for what $connect itself answers: in front of what is held. */
enum status connection_send_greeting(struct connection *connection, const char *frame,
                                     size_t len) MUST_USE;
/* $connect has been answered: what was held goes behind its greeting. */
void connection_release(struct connection *connection);
/* Writes a text frame's bytes. */
void frame_write_text(struct buf *out, const char *text, size_t len);

/* The same with seq: an object gets it as its first member, anything else becomes
 * {"seq":N,"data":...}.  text is JSON as PostgreSQL writes jsonb. */
void frame_write_seq(struct buf *out, int64_t seq, const char *text, size_t len);

/* What is queued and not yet given to the socket. */
size_t connection_unsent(const struct connection *connection);
/* Makes `out` take len bytes more, if need be without what the socket has already; false: the queue
 * is full. */
bool connection_make_room(struct connection *connection, size_t len) MUST_USE;

/* Queues a ping; nothing when it is closing or its queue is full. */
void connection_ping(struct connection *connection);

/* Starts closing: what is queued goes out, then a close frame.  The first code and reason stay.
 * Does nothing when it is closing or closed already. */
void connection_close(struct connection *connection, int code, const char *reason);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend_internal.h - what the files of the SQL integration share.
 *
 * backend.c: results.  backend_message.c: messages.  backend_batch.c: several of them in one
 * transaction.  backend_connect.c: $connect and registering.  backend_disconnect.c: $disconnect,
 * touching, and registering again after an outage.
 */
#pragma once

#include "backend.h"
#include "buf.h"
#include "event.h"
#include "loop.h"
#include "pg.h"

struct connect_queue;
struct disconnect_queue;
struct message_queue;

struct backend {
    struct backend_env env;
    char *endpoint;      /* backend_set_endpoint's; NULL: env's */
    char *routes;        /* array literal: the schemas of routes, the profile last */
    size_t other_nodes;  /* alive beside this one, as of the last heartbeat */
    bool is_restore_due; /* a restore did not get through */
    struct message_queue *messages;
    struct connect_queue *connects;
    struct disconnect_queue *disconnects;
};

/* The columns of switchboard.event_result, in the order every statement here selects them. */
enum result_column { RESULT_INDEX, RESULT_KIND, RESULT_TARGET, RESULT_PAYLOAD, RESULT_EXCEPT };
#define RESULT_COLUMNS "event_index, kind, target, payload, except_connection"

/* Deliveries for other nodes, collected while the rows of one result are applied. */
struct relay {
    struct buf kinds, targets, payloads, excepts;
    size_t count;
};
void relay_begin(struct relay *relay);
void relay_send(struct relay *relay, struct backend *backend); /* and frees */

/* Applies one row: a delivery goes out, `published` wakes the follower.  Rows of other kinds
 * (accept, refuse, error, forbidden, locked) are the caller's business and are ignored here. */
void backend_apply_row(struct backend *backend, struct connection *origin, const struct rows *rows,
                       size_t row, struct relay *relay);

/* A row of kind audit: a line of the log. */
void log_audit(const char *connection_id, const struct rows *rows, size_t row);

/* True when the row's kind is that word. */
bool result_is(const struct rows *rows, size_t row, const char *kind);

/* An event whose route raised an error: one line in the log, with the function that handles this
 * route key now.  It comes when the database has said which that is. */
struct route_failure {
    const struct connection *connection; /* NULL: it is gone */
    const char *route_key;
    const char *request_id; /* NULL when there is none to tell */
    const char *sqlstate;
    const char *text; /* of the error */
};
void log_route_failure(struct backend *backend, const struct route_failure *failure);

/* Error texts of class 22 (data exceptions) quote the data: what stands between double quotes is
 * replaced, so that a message body never reaches the log.  Borrowed: text itself is changed. */
const char *redact_error(char *text, const char *sqlstate);

/* ---- backend_message.c ---- */

enum {
    MESSAGE_HABITS = 256,       /* a power of two */
    MESSAGE_MAX_LANES = 64,     /* database_pool_size */
    MESSAGE_PENALTY_MS = 1000,  /* without company, for a route that was slow or failed, */
    MESSAGE_STRANGER_MS = 60000 /* and for one whose schema shares no transactions */
};

/* One message event on its way.  The texts are kept for $error. */
struct message_call {
    struct backend *backend;
    struct connection *connection;
    backend_message_done *done;
    void *ctx;
    char route_key[128];
    char request_id[FOREIGN_ID_BYTES];
    char message_id[FOREIGN_ID_BYTES];
    char *body;
    char *token;
    char connected_at[24];
    char refusal_code[6];      /* "": it runs; else only $error does, */
    char *refusal_text;        /* with this */
    unsigned steps;            /* of then_run() */
    bool is_alone;             /* has been in company that failed */
    bool is_forbidden;         /* answered in a batch: no route matches, */
    bool has_step;             /* or there is a step to run */
    int lane;                  /* once it is sent; -1: any */
    int64_t sent_ms;           /* loop_waited_ms() */
    struct message_call *next; /* of its connection, while it waits */
};

/* How the routes of a key have behaved; keys that share one share the worst of both. */
struct habit {
    int64_t fast_until_ms;
    int64_t alone_until_ms;
};

struct message_queue {
    struct backend *backend;
    struct connection *first; /* with messages that wait and none under way, oldest first */
    struct connection *last;
    size_t waiting;                      /* messages of these */
    size_t in_flight[MESSAGE_MAX_LANES]; /* messages */
    size_t lane_count;                   /* 0: whatever comes is sent at once */
    struct habit habits[MESSAGE_HABITS];
    struct deferred deferred;
};

struct message_queue *message_queue_create(struct backend *backend) MUST_USE;
void message_queue_free(struct message_queue *queue); /* what waits is answered with an error */
/* How long messages of that route took: whether they may go in company. */
void message_queue_note_time(struct message_queue *queue, const char *route_key, int64_t took_ms);
/* Those that come go alone for so long. */
void message_queue_keep_alone(struct message_queue *queue, const char *route_key, int64_t for_ms);

/* Runs its route on the lane that it has, or only $error when it is refused. */
void message_call_send(struct message_call *call);
/* Leaves the lane, answers whoever asked, and frees. */
void message_call_finish(struct message_call *call, enum backend_result result);

/* ---- backend_batch.c ---- */

/* Runs their routes in one transaction, on the lane that they have. */
void message_batch_send(struct message_queue *queue, struct message_call **calls, size_t count);

/* ---- backend_connect.c ---- */

struct connect_queue *connect_queue_create(struct backend *backend) MUST_USE;
void connect_queue_free(struct connect_queue *queue);

/* ---- backend_disconnect.c ---- */

struct disconnect_queue *disconnect_queue_create(struct backend *backend) MUST_USE;
void disconnect_queue_free(struct disconnect_queue *queue);
size_t disconnect_queue_len(const struct disconnect_queue *queue);
/* Deregisters an id without a connection behind it: what became of it is not known. */
void disconnect_queue_add(struct disconnect_queue *queue, const char *connection_id, int code,
                          const char *reason, const char *request_id);

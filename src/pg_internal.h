/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg_internal.h - what the files of the database connection share.
 *
 * pg.c: libpq.  pg_life.c: connection strings, and a connection's states on the loop.
 * pg_errors.c (a header of its own): texts of errors.
 */
#pragma once

#include "loop.h"
#include "pg.h"

enum { PG_STATEMENT_NAME_BYTES = 64 }; /* NAMEDATALEN */

/* A statement name on this connection.  Until the server has confirmed the preparation, further
 * calls go unnamed: if it fails they must not fail with it. */
struct statement {
    struct statement *next;
    enum { STATEMENT_UNPREPARED, STATEMENT_SENT, STATEMENT_PREPARED } state;
    uint32_t generation; /* a forgotten name is never used again */
    char *name;          /* the caller's */
    char server_name[PG_STATEMENT_NAME_BYTES];
};

struct call {
    struct call *next;
    pg_done *done; /* NULL for our own */
    void *ctx;
    struct statement *statement; /* NULL: unnamed */
    bool has_prelude;            /* the next result is that of call_sql */
    bool is_preparing;           /* the next result is that of the preparation */
    int64_t sent_ms;
    struct pg_result *result; /* libpq's PGresult */
    struct error err;         /* the first one; status OK while there is none */
};

struct resolving; /* pg_life.c's: the question to the resolver */

enum pg_state {
    PG_STARTING,   /* waits for the end of the turn, or for the resolver */
    PG_CONNECTING, /* PQconnectPoll */
    PG_SETTING_UP, /* session settings are on their way */
    PG_READY,
    PG_BROKEN, /* the owner is told at the end of the turn */
    PG_DEAD,   /* the owner has been told */
    PG_CLOSED  /* freed at the end of the turn */
};

struct pg {
    struct pg_conn *conn; /* libpq's PGconn; NULL: not asked yet, or closed */
    struct loop *loop;    /* NULL: a blocking one */
    enum pg_state state;
    bool was_ready;
    struct watch *watch;
    struct timer *deadline;
    struct resolving *resolving; /* NULL: there is no answer to wait for */
    struct deferred turn;        /* flushing, and whatever must not happen on the caller's stack */
    struct deferred end;
    struct pg_events events;
    void *ctx;
    struct call *first, **last; /* in the order of the pipeline */
    size_t in_flight;
    struct statement *statements;
    struct error failure;
    struct error last_words; /* of the server, before it ends an idle session; OK: none */
    int64_t connect_timeout_ms;
    int64_t statement_timeout_ms;
    char *url;
    char *application_name;
    char *channel;
    char *session_sql;
    char *call_sql;
    char *user;
    char *password;
    bool needs_tls;
};

/* ---- pg.c ---- */

/* What a connection string says, as libpq reads it.  NULL when it cannot be read. */
struct pg_conninfo;
struct pg_conninfo *pg_conninfo_parse(const char *url) MUST_USE;
/* What the PG* variables and libpq itself say. */
struct pg_conninfo *pg_conninfo_defaults(void) MUST_USE;
void pg_conninfo_free(struct pg_conninfo *conninfo); /* NULL is allowed */
/* Borrowed until pg_conninfo_free; NULL when there is none, and of NULL. */
const char *pg_conninfo_value(const struct pg_conninfo *conninfo, const char *keyword);

/* Makes it PG_CONNECTING, or breaks it.  address: of the host that the URL names; NULL: libpq needs
 * none. */
void pg_connect_to(struct pg *pg, const char *address);
/* The socket is ready: in PG_CONNECTING, and in PG_SETTING_UP. */
void pg_poll_connection(struct pg *pg);
void pg_continue_set_up(struct pg *pg);
/* In PG_READY: what there is to read or to send.  Both take results, whose callbacks may do
 * anything; the pg is there until the end of the turn. */
void pg_read_input(struct pg *pg);
void pg_flush(struct pg *pg);
/* Answers every call that is there with an error. */
void pg_fail_calls(struct pg *pg);
/* libpq's part of closing. */
void pg_disconnect(struct pg *pg);

/* ---- pg_life.c ---- */

/* The URL does not leave TLS open. */
bool pg_has_tls(const char *url);
/* Of no use from here on, for the first reason that is given.  The owner is told at the end of the
 * turn, because any function may find out. */
void pg_break_connection(struct pg *pg, const struct error *err);
/* For loop_watch; ctx is the pg. */
void pg_on_ready(void *ctx, int events);

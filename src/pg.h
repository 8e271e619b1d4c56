/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg.h - one PostgreSQL connection: libpq is behind it and nowhere else.
 *
 * Two ways to use it.  Blocking, for commands such as migrate: pg_open, pg_script, pg_query,
 * pg_close.  On the loop: pg_start connects in the background and reconnects never by itself
 * (store.c decides); pg_call pipelines one statement with its own sync, so that it is a transaction
 * of its own.
 */
#pragma once

#include "base.h"

struct loop;
struct pg;

/* The rows of one result, borrowed during the callback (or until pg_rows_free when from pg_query).
 */
struct rows;
size_t rows_count(const struct rows *rows);
const char *rows_text(const struct rows *rows, size_t row, size_t column); /* NULL for SQL null */
size_t rows_len(const struct rows *rows, size_t row, size_t column);       /* bytes of that text */
int64_t rows_int(const struct rows *rows, size_t row, size_t column);      /* 0 for SQL null */
bool rows_bool(const struct rows *rows, size_t row, size_t column);

/* Where a connection string leads: what it says, and else what PG* variables and libpq's defaults
 * say.  Of several hosts (and ports) the first. */
struct pg_target {
    char *host; /* "" or a path: a socket of this machine */
    char *port;
    char *user;
    char *sslmode;
};
/* INVALID when it cannot be read, or names a service, whose file libpq reads only while connecting.
 */
enum status pg_target_of(const char *url, struct pg_target *out, struct error *err) MUST_USE;
void pg_target_done(struct pg_target *target); /* zeroes are allowed */

struct pg_options {
    const char *url; /* "" = libpq's PG* variables */
    const char *application_name;
    int64_t connect_timeout_ms;
    const char *user;     /* instead of the URL's; or NULL */
    const char *password; /* the same */
    bool needs_tls;       /* encrypts even where the URL leaves it open (sslmode=prefer) */
    /* ---- the rest is for pg_start alone ---- */
    int64_t statement_timeout_ms; /* 0 = none */
    const char *listen;           /* a channel, or NULL */
    const char *session_sql;      /* run when connected, or NULL; "set x = y;" */
    /* Behind a pooler, which may give every transaction another session: nothing is set for the
     * session, nothing is prepared.  Instead this statement ("select set_config(..., true)") runs
     * in front of every call, in its transaction.  NULL: there is no pooler. */
    const char *call_sql;
};

/* ---- blocking ---- */
/* UNAVAILABLE when it fails, with an SQLSTATE when it was the server that refused. */
enum status pg_open(const struct pg_options *options, struct pg **out, struct error *err) MUST_USE;
/* Runs several statements (simple protocol). */
enum status pg_script(struct pg *pg, const char *sql, struct error *err) MUST_USE;
/* One statement; params are texts, NULL is SQL null; *rows is yours to free, and may be NULL. */
enum status pg_query(struct pg *pg, const char *sql, const char *const *params, size_t count,
                     struct rows **rows, struct error *err) MUST_USE;
void pg_rows_free(struct rows *rows);

/* ---- on the loop ---- */
struct pg_events {
    /* Connected and set up (pipeline mode, session settings), or failed for good: err is NULL or
     * says why, with an SQLSTATE when it was the server that refused.  Called once, never inside
     * pg_start.  After an error the owner calls pg_close. */
    void (*on_connect)(void *ctx, const struct error *err);
    /* The connection broke after on_connect(NULL); every pending call has been answered with
     * UNAVAILABLE before.  The owner calls pg_close. */
    void (*on_lost)(void *ctx, const struct error *err);
    void (*on_notify)(void *ctx, const char *channel, const char *payload);
};
struct pg *pg_start(struct loop *loop, const struct pg_options *options,
                    const struct pg_events *events, void *ctx) MUST_USE;

/* Sends one statement.  name: a statement name under which it is prepared the first time, or NULL
 * for an unnamed one.  done is called exactly once, never before pg_call returns, and only after
 * the server has confirmed the commit.  params are copied.  err->sqlstate is set for server errors;
 * SQLSTATE classes 08, 53, 57P and 58, and a lost connection, map to UNAVAILABLE, 57014 (cancelled
 * by a timeout) to LIMIT, 22 and 23 to INVALID, 42501 to DENIED, anything else to INTERNAL. */
typedef void pg_done(void *ctx, const struct error *err, const struct rows *rows);
void pg_call(struct pg *pg, const char *name, const char *sql, const char *const *params,
             size_t count, pg_done *done, void *ctx);
size_t pg_in_flight(const struct pg *pg);
/* Another call_sql, for the calls from now on. */
void pg_set_call_sql(struct pg *pg, const char *call_sql);
/* Looks whether the server has closed the connection while nobody looked (the process was frozen):
 * false when it has; on_lost comes at the end of the turn. */
bool pg_is_alive(struct pg *pg);
int64_t pg_oldest_ms(const struct pg *pg); /* age of the oldest unanswered call, 0 when none */

/* Both ways.  Pending calls are answered with UNAVAILABLE first; NULL is allowed.  Safe inside its
 * own callbacks: the struct is freed at the end of the turn. */
void pg_close(struct pg *pg);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg.c - what is said to libpq, and what it answers.  No other file knows libpq.
 */
#include "pg.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "buf.h"
#include "loop.h"
#include "pg_errors.h"
#include "pg_internal.h"

enum { SETUP_SQL_BYTES = 1024, MAX_OPTIONS = 16 };

struct rows {
    PGresult *result;
};

/* ---- errors ---- */

static enum status fail_connection(struct error *err, const PGconn *conn)
{
    const char *text = conn ? PQerrorMessage(conn) : "out of memory";

    return pg_fail(err, UNAVAILABLE, *text ? text : "the connection is lost");
}

static enum status fail_connecting(struct error *err, const PGconn *conn)
{
    return pg_fail_refused(err, UNAVAILABLE, conn ? PQerrorMessage(conn) : "out of memory");
}

/* An error without SQLSTATE is libpq's own: the connection is lost. */
static enum status fail_result(struct error *err, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (!text)
        text = PQresultErrorMessage(result);
    pg_fail(err, sqlstate ? pg_status_of_sqlstate(sqlstate) : UNAVAILABLE, text);
    if (err && sqlstate)
        snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", sqlstate);
    return sqlstate ? pg_status_of_sqlstate(sqlstate) : UNAVAILABLE;
}

static bool is_success(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

/* ---- rows ---- */

size_t rows_count(const struct rows *rows)
{
    return (size_t)PQntuples(rows->result);
}

const char *rows_text(const struct rows *rows, size_t row, size_t column)
{
    if (PQgetisnull(rows->result, (int)row, (int)column))
        return NULL;
    return PQgetvalue(rows->result, (int)row, (int)column);
}

size_t rows_len(const struct rows *rows, size_t row, size_t column)
{
    return (size_t)PQgetlength(rows->result, (int)row, (int)column);
}

int64_t rows_int(const struct rows *rows, size_t row, size_t column)
{
    const char *text = rows_text(rows, row, column);

    return text ? strtoll(text, NULL, 10) : 0;
}

bool rows_bool(const struct rows *rows, size_t row, size_t column)
{
    const char *text = rows_text(rows, row, column);

    return text && text[0] == 't';
}

void pg_rows_free(struct rows *rows)
{
    if (!rows)
        return;
    PQclear(rows->result);
    free(rows);
}

/* ---- connection strings, as libpq reads them ---- */

/* A struct pg_conninfo is an array of PQconninfoOption. */
struct pg_conninfo *pg_conninfo_parse(const char *url)
{
    return (struct pg_conninfo *)PQconninfoParse(url, NULL);
}

struct pg_conninfo *pg_conninfo_defaults(void)
{
    return (struct pg_conninfo *)PQconndefaults();
}

void pg_conninfo_free(struct pg_conninfo *conninfo)
{
    PQconninfoFree((PQconninfoOption *)conninfo);
}

const char *pg_conninfo_value(const struct pg_conninfo *conninfo, const char *keyword)
{
    const PQconninfoOption *options = (const PQconninfoOption *)conninfo;

    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val;
    return NULL;
}

/* ---- connecting, both ways ---- */

struct options {
    const char *keys[MAX_OPTIONS];
    const char *values[MAX_OPTIONS];
    size_t count;
};

static void add_option(struct options *options, const char *key, const char *value)
{
    assert(options->count + 1 < MAX_OPTIONS); /* the last one stays NULL */
    options->keys[options->count] = key;
    options->values[options->count++] = value;
}

static void ignore_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

/* What stands in front of dbname is a default that the URL overrides; behind it, the reverse.  A
 * server that vanished is noticed within half a minute, sending or idle; a process that handles one
 * event at a time has less. */
static PGconn *start_connection(const struct pg_options *login, const char *address)
{
    struct options options = {.count = 0};
    PGconn *conn;

    add_option(&options, "fallback_application_name", login->application_name);
    add_option(&options, "keepalives_idle", "10");
    add_option(&options, "keepalives_interval", "5");
    add_option(&options, "keepalives_count", "3");
    add_option(&options, "tcp_user_timeout", login->call_sql ? "3000" : "25000");
    add_option(&options, "dbname", login->url);
    add_option(&options, "client_encoding", "UTF8");
    if (address)
        add_option(&options, "hostaddr", address);
    if (login->user)
        add_option(&options, "user", login->user);
    if (login->password)
        add_option(&options, "password", login->password);
    if (login->needs_tls && !pg_has_tls(login->url))
        add_option(&options, "sslmode", "require");
    conn = PQconnectStartParams(options.keys, options.values, 1);
    if (conn) {
        PQsetNoticeReceiver(conn, ignore_notice, NULL);
        PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* an SQLSTATE, which has no other way out */
    }
    return conn;
}

/* ---- blocking ---- */

static enum status wait_for_connection(PGconn *conn, int64_t timeout_ms, struct error *err)
{
    int64_t deadline = clock_mono_ms() + timeout_ms;
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;

    while (PQstatus(conn) != CONNECTION_BAD && step != PGRES_POLLING_OK &&
           step != PGRES_POLLING_FAILED) {
        struct pollfd pollfd = {.fd = PQsocket(conn)};
        int64_t left = deadline - clock_mono_ms();
        int rc;

        pollfd.events = step == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        rc = left > 0 ? poll(&pollfd, 1, (int)left) : 0;
        if (rc == 0)
            return fail(err, UNAVAILABLE, "no answer from the database within %lld ms",
                        (long long)timeout_ms);
        if (rc < 0 && errno == EINTR)
            continue;
        step = PQconnectPoll(conn);
    }
    return PQstatus(conn) == CONNECTION_OK ? OK : fail_connecting(err, conn);
}

enum status pg_open(const struct pg_options *options, struct pg **out, struct error *err)
{
    PGconn *conn = start_connection(options, NULL);
    struct pg *pg;

    if (!conn || wait_for_connection(conn, options->connect_timeout_ms, err) != OK) {
        if (!conn)
            fail_connecting(err, conn);
        PQfinish(conn);
        return UNAVAILABLE;
    }
    PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    pg = mem_alloc(sizeof(*pg));
    pg->conn = conn;
    pg->state = PG_READY;
    *out = pg;
    return OK;
}

static enum status fail_script(struct error *err, const PGresult *result, const char *sql)
{
    enum status st = fail_result(err, result);
    const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);

    if (position)
        fail_context(err, "line %zu", pg_line_of_position(sql, position));
    return st;
}

enum status pg_script(struct pg *pg, const char *sql, struct error *err)
{
    PGresult *result = PQexec(pg->conn, sql);
    enum status st = OK;

    assert(!pg->loop);
    if (!result)
        st = fail_connection(err, pg->conn);
    else if (PQresultStatus(result) == PGRES_COPY_IN || PQresultStatus(result) == PGRES_COPY_OUT)
        st = fail(err, INVALID, "COPY from or to the client is not possible here");
    else if (!is_success(result))
        st = fail_script(err, result, sql);
    PQclear(result);
    return st;
}

enum status pg_query(struct pg *pg, const char *sql, const char *const *params, size_t count,
                     struct rows **rows, struct error *err)
{
    PGresult *result = PQexecParams(pg->conn, sql, (int)count, NULL, params, NULL, NULL, 0);
    enum status st = OK;

    assert(!pg->loop);
    if (!result)
        return fail_connection(err, pg->conn);
    if (!is_success(result)) {
        st = fail_result(err, result);
    } else if (rows) {
        *rows = mem_alloc(sizeof(**rows));
        (*rows)->result = result;
        return OK;
    }
    PQclear(result);
    return st;
}

/* ---- calls: the pipeline's queue ---- */

static void append_call(struct pg *pg, struct call *call)
{
    *pg->last = call;
    pg->last = &call->next;
    pg->in_flight++;
}

/* Frees the call; the callback may do anything, even close the connection. */
static void answer_call(struct call *call, const struct error *err)
{
    struct rows rows = {call->result};

    if (call->done)
        call->done(call->ctx, err, err ? NULL : &rows);
    PQclear(call->result);
    free(call);
}

/* A call whose sync never came: an error that the server reported stands (it was rolled back), rows
 * do not (the commit is unknown). */
void pg_fail_calls(struct pg *pg)
{
    struct call *call = pg->first;
    struct call *next;

    pg->first = NULL;
    pg->last = &pg->first;
    pg->in_flight = 0;
    for (; call; call = next) {
        struct error err = call->err.status != OK ? call->err : pg->failure;

        next = call->next;
        if (err.status == OK)
            fail(&err, UNAVAILABLE, "the connection was closed");
        err.status = call->err.status != OK ? err.status : UNAVAILABLE;
        answer_call(call, &err);
    }
}

static void lose_connection(struct pg *pg)
{
    struct error err = {0};

    if (pg->state <= PG_CONNECTING)
        fail_connecting(&err, pg->conn);
    else
        fail_connection(&err, pg->conn);
    pg_break_connection(pg, &err);
}

/* ---- statement names ---- */

static struct statement *find_statement(struct pg *pg, const char *name)
{
    struct statement *statement = pg->statements;

    while (statement && strcmp(statement->name, name) != 0)
        statement = statement->next;
    if (statement)
        return statement;
    statement = mem_alloc(sizeof(*statement));
    statement->name = mem_strdup(name);
    statement->next = pg->statements;
    pg->statements = statement;
    return statement;
}

static struct call *create_call(struct pg *pg, pg_done *done, void *ctx)
{
    struct call *call = mem_alloc(sizeof(*call));

    call->done = done;
    call->ctx = ctx;
    call->sent_ms = loop_now_ms(pg->loop);
    return call;
}

/* Without this, a route that keeps raising one of the two errors below would fill the server's
 * memory with statements that nobody uses. */
static void deallocate(struct pg *pg, const char *server_name)
{
    char sql[PG_STATEMENT_NAME_BYTES + 16];

    snprintf(sql, sizeof(sql), "deallocate \"%s\"", server_name);
    append_call(pg, create_call(pg, NULL, NULL));
    if (!PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 0) ||
        !PQpipelineSync(pg->conn))
        lose_connection(pg);
    loop_at_end_of_turn(pg->loop, &pg->turn);
}

/* "cached plan must not change result type" (0A000) after a function was replaced, and "prepared
 * statement does not exist" (26000, somebody ran DISCARD ALL): the next call prepares anew. */
static void forget_if_stale(struct pg *pg, struct statement *statement, const char *sqlstate)
{
    if (statement->state != STATEMENT_PREPARED)
        return;
    if (strcmp(sqlstate, "0A000") != 0 && strcmp(sqlstate, "26000") != 0)
        return;
    statement->state = STATEMENT_UNPREPARED;
    deallocate(pg, statement->server_name);
}

static bool send_preparation(struct pg *pg, struct call *call, const char *sql)
{
    struct statement *statement = call->statement;

    assert(strchr(statement->name, '"') == NULL);
    snprintf(statement->server_name, sizeof(statement->server_name), "%.48s.%u", statement->name,
             ++statement->generation);
    statement->state = STATEMENT_SENT;
    call->is_preparing = true;
    return PQsendPrepare(pg->conn, statement->server_name, sql, 0, NULL) == 1;
}

/* ---- results ---- */

static void finish_call(struct pg *pg)
{
    struct call *call = pg->first;

    pg->first = call->next;
    if (!pg->first)
        pg->last = &pg->first;
    pg->in_flight--;
    answer_call(call, call->err.status != OK ? &call->err : NULL);
}

static void take_success(struct call *call, PGresult *result)
{
    if (call->has_prelude) {
        call->has_prelude = false;
        PQclear(result);
        return;
    }
    if (call->is_preparing) {
        call->is_preparing = false;
        call->statement->state = STATEMENT_PREPARED;
        PQclear(result);
        return;
    }
    PQclear(call->result);
    call->result = result;
}

static void take_error(struct pg *pg, struct call *call, PGresult *result)
{
    struct error err = {0};

    fail_result(&err, result);
    PQclear(result);
    if (err.sqlstate[0] == '\0') {
        pg_break_connection(pg, &err);
        return;
    }
    if (call->err.status == OK)
        call->err = err;
    if (!call->statement)
        return;
    if (call->is_preparing)
        call->statement->state = STATEMENT_UNPREPARED;
    else
        forget_if_stale(pg, call->statement, err.sqlstate);
    call->is_preparing = false;
}

static void take_result(struct pg *pg, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        finish_call(pg);
    } else if (status == PGRES_PIPELINE_ABORTED) {
        PQclear(result); /* behind an error that has been taken already */
    } else if (is_success(result)) {
        take_success(pg->first, result);
    } else {
        take_error(pg, pg->first, result);
    }
}

/* A statement's results end in a NULL, a sync's do not; two in a row: there is nothing more. */
static void take_results(struct pg *pg)
{
    int nulls = 0;

    while (pg->state == PG_READY && pg->first && nulls < 2 && !PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);

        if (result) {
            nulls = 0;
            take_result(pg, result);
        } else {
            nulls++;
        }
    }
}

static void take_notifications(struct pg *pg)
{
    while (pg->state == PG_READY) {
        PGnotify *notify = PQnotifies(pg->conn);

        if (!notify)
            return;
        if (pg->events.on_notify)
            pg->events.on_notify(pg->ctx, notify->relname, notify->extra);
        PQfreemem(notify);
    }
}

/* Sending may have read, too: libpq reads when it cannot write, lest both sides wait. */
void pg_flush(struct pg *pg)
{
    int left = PQflush(pg->conn);

    if (left < 0) {
        lose_connection(pg);
        return;
    }
    loop_watch_set(pg->watch, left ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    take_results(pg);
    take_notifications(pg);
}

void pg_read_input(struct pg *pg)
{
    bool is_alive = PQconsumeInput(pg->conn) == 1;

    take_results(pg); /* what came before the end, if this is it */
    take_notifications(pg);
    /* libpq may have read the end together with what came before it. */
    is_alive = is_alive && PQstatus(pg->conn) == CONNECTION_OK;
    if (pg->last_words.status != OK)
        pg_break_connection(pg, &pg->last_words);
    else if (!is_alive && pg->state == PG_READY)
        lose_connection(pg);
}

/* ---- connecting on the loop ---- */

static void become_ready(struct pg *pg)
{
    if (!PQenterPipelineMode(pg->conn)) {
        lose_connection(pg);
        return;
    }
    loop_timer_stop(pg->deadline);
    pg->deadline = NULL;
    pg->state = PG_READY;
    pg->was_ready = true;
    loop_at_end_of_turn(pg->loop, &pg->turn); /* a notification may have been read already */
    pg->events.on_connect(pg->ctx, NULL);
}

/* The results of the session settings. */
void pg_continue_set_up(struct pg *pg)
{
    if (!PQconsumeInput(pg->conn) || PQflush(pg->conn) < 0) {
        lose_connection(pg);
        return;
    }
    while (!PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        struct error err = {0};

        if (!result) {
            become_ready(pg);
            return;
        }
        if (!is_success(result)) {
            fail_result(&err, result);
            pg_break_connection(pg, &err);
            PQclear(result);
            return;
        }
        PQclear(result);
    }
}

static bool write_settings(struct pg *pg, struct buf *sql)
{
    char *channel;

    buf_addf(sql, "set statement_timeout = %lld;", (long long)pg->statement_timeout_ms);
    buf_adds(sql, "set jit = off;"
                  "set standard_conforming_strings = on;"
                  "set datestyle = 'ISO';"
                  "set client_min_messages = warning;");
    if (pg->session_sql)
        buf_adds(sql, pg->session_sql);
    if (!pg->channel)
        return !buf_full(sql);
    channel = PQescapeIdentifier(pg->conn, pg->channel, strlen(pg->channel));
    if (channel)
        buf_addf(sql, "listen %s;", channel);
    PQfreemem(channel);
    return channel && !buf_full(sql);
}

static void set_up(struct pg *pg)
{
    struct buf sql;

    buf_init(&sql, SETUP_SQL_BYTES);
    pg->state = PG_SETTING_UP;
    PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    PQsetnonblocking(pg->conn, 1);
    if (pg->call_sql) {
        pg->watch = loop_watch(pg->loop, PQsocket(pg->conn), LOOP_READ, pg_on_ready, pg);
        become_ready(pg);
    } else if (write_settings(pg, &sql) && PQsendQuery(pg->conn, buf_str(&sql)) &&
               PQflush(pg->conn) >= 0)
        pg->watch = loop_watch(pg->loop, PQsocket(pg->conn), LOOP_READ, pg_on_ready, pg);
    else
        lose_connection(pg);
    buf_done(&sql);
}

/* libpq may close its socket and open another one in here (next host, without SSL): never watch one
 * across it. */
void pg_poll_connection(struct pg *pg)
{
    PostgresPollingStatusType step;

    loop_unwatch(pg->watch);
    pg->watch = NULL;
    step = PQconnectPoll(pg->conn);
    if (step == PGRES_POLLING_OK)
        set_up(pg);
    else if (step == PGRES_POLLING_FAILED)
        lose_connection(pg);
    else
        pg->watch =
            loop_watch(pg->loop, PQsocket(pg->conn),
                       step == PGRES_POLLING_READING ? LOOP_READ : LOOP_WRITE, pg_on_ready, pg);
}

/* What the server says before it ends a session that is idle libpq takes for a notice; the end
 * itself comes later. */
static void on_notice(void *ctx, const PGresult *result)
{
    struct pg *pg = ctx;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        fail_result(&pg->last_words, result);
}

void pg_connect_to(struct pg *pg, const char *address)
{
    const struct pg_options login = {
        .url = pg->url,
        .application_name = pg->application_name,
        .call_sql = pg->call_sql,
        .user = pg->user,
        .password = pg->password,
        .needs_tls = pg->needs_tls,
    };

    pg->conn = start_connection(&login, address);
    if (!pg->conn || PQstatus(pg->conn) == CONNECTION_BAD) {
        lose_connection(pg);
        return;
    }
    PQsetNoticeReceiver(pg->conn, on_notice, pg);
    pg->state = PG_CONNECTING;
    pg->watch = loop_watch(pg->loop, PQsocket(pg->conn), LOOP_WRITE, pg_on_ready, pg);
}

void pg_disconnect(struct pg *pg)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
}

/* ---- calling ---- */

static bool send_call(struct pg *pg, struct call *call, const char *sql, const char *const *params,
                      size_t count)
{
    struct statement *statement = call->statement;

    if (pg->call_sql) {
        call->has_prelude = true;
        if (PQsendQueryParams(pg->conn, pg->call_sql, 0, NULL, NULL, NULL, NULL, 0) != 1)
            return false;
    }
    if (!statement)
        return PQsendQueryParams(pg->conn, sql, (int)count, NULL, params, NULL, NULL, 0) == 1;
    if (statement->state == STATEMENT_UNPREPARED && !send_preparation(pg, call, sql))
        return false;
    return PQsendQueryPrepared(pg->conn, statement->server_name, (int)count, params, NULL, NULL,
                               0) == 1;
}

/* Each call has its own sync and so is a transaction of its own.  libpq 15 sends at every sync (a
 * way not to came with 17); whatever the socket did not take goes out at the end of the turn. */
/* NOLINTNEXTLINE(readability-function-size): callers use struct store_query, store.c this */
void pg_call(struct pg *pg, const char *name, const char *sql, const char *const *params,
             size_t count, pg_done *done, void *ctx)
{
    struct call *call = create_call(pg, done, ctx);
    struct statement *statement = name && !pg->call_sql ? find_statement(pg, name) : NULL;

    append_call(pg, call);
    if (pg->state != PG_CLOSED)
        loop_at_end_of_turn(pg->loop, &pg->turn);
    if (pg->state != PG_READY)
        return;
    if (statement && statement->state != STATEMENT_SENT)
        call->statement = statement;
    if (!send_call(pg, call, sql, params, count) || !PQpipelineSync(pg->conn))
        lose_connection(pg);
}

bool pg_is_alive(struct pg *pg)
{
    struct pollfd descriptor;

    if (pg->state != PG_READY)
        return pg->state < PG_READY;
    descriptor = (struct pollfd){.fd = PQsocket(pg->conn), .events = POLLIN | POLLRDHUP};
    /* First comes what the server said about it, and then the end. */
    while (pg->state == PG_READY && poll(&descriptor, 1, 0) > 0)
        pg_read_input(pg);
    return pg->state == PG_READY;
}

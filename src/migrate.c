/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "database_auth.h"
#include "embedded.h"
#include "json.h"
#include "pg.h"

/* Given again whenever anything else was applied: a function that was dropped and created anew has
 * lost its grants. */
#define GRANTS_FILE "sql/zz_grants.sql"

/* The same statements as in migrations/apply.sh: whoever comes first creates the bookkeeping. */
static const char bookkeeping_sql[] = "create schema if not exists switchboard;"
                                      "create table if not exists switchboard.schema_migrations ("
                                      "    name text primary key,"
                                      "    version integer,"
                                      "    checksum text not null,"
                                      "    applied_at timestamptz not null default now()"
                                      ");";

static const char record_sql[] =
    "insert into switchboard.schema_migrations as m (name, version, checksum)"
    " values ($1, $2::integer, $3)"
    " on conflict (name) do update set checksum = excluded.checksum, applied_at = now()";

enum file_state { FILE_APPLIED, FILE_PENDING, FILE_CHANGED };

/* What the database has; rows is NULL when it has no bookkeeping yet. */
struct applied {
    struct rows *rows;
};

enum { COLUMN_NAME, COLUMN_CHECKSUM, COLUMN_IS_MIGRATION };

static enum status load_applied(struct pg *pg, struct applied *applied, struct error *err)
{
    struct rows *found = NULL;
    enum status st;

    applied->rows = NULL;
    st = pg_query(pg, "select to_regclass('switchboard.schema_migrations') is not null", NULL, 0,
                  &found, err);
    if (st == OK && rows_bool(found, 0, 0))
        st = pg_query(pg,
                      "select name, checksum, version is not null"
                      " from switchboard.schema_migrations order by name",
                      NULL, 0, &applied->rows, err);
    pg_rows_free(found);
    return st;
}

static size_t applied_count(const struct applied *applied)
{
    return applied->rows ? rows_count(applied->rows) : 0;
}

static enum file_state state_of(const struct applied *applied, const struct embedded_file *file)
{
    for (size_t i = 0; i < applied_count(applied); i++)
        if (strcmp(rows_text(applied->rows, i, COLUMN_NAME), file->name) == 0)
            return strcmp(rows_text(applied->rows, i, COLUMN_CHECKSUM), file->sha256) == 0
                       ? FILE_APPLIED
                       : FILE_CHANGED;
    return FILE_PENDING;
}

static bool is_embedded(const char *name)
{
    for (size_t i = 0; i < embedded_file_count; i++)
        if (strcmp(embedded_files[i].name, name) == 0)
            return true;
    return false;
}

/* Before anything is written: what has landed must be what we have. */
static enum status check_applied(const struct applied *applied, struct error *err)
{
    for (size_t i = 0; i < embedded_file_count; i++) {
        const struct embedded_file *file = &embedded_files[i];

        if (file->kind == EMBEDDED_MIGRATION && state_of(applied, file) == FILE_CHANGED)
            return fail(err, INVALID, "migration %s has changed since it was applied", file->name);
    }
    for (size_t i = 0; i < applied_count(applied); i++) {
        const char *name = rows_text(applied->rows, i, COLUMN_NAME);

        if (rows_bool(applied->rows, i, COLUMN_IS_MIGRATION) && !is_embedded(name))
            return fail(err, INVALID,
                        "the database has migration %s, which this program does not know", name);
    }
    return OK;
}

/* ---- applying ---- */

static enum status apply_file(struct pg *pg, const struct embedded_file *file, struct error *err)
{
    char version[8] = "";
    const char *params[3] = {file->name, NULL, file->sha256};
    enum status st;

    if (file->kind == EMBEDDED_MIGRATION) {
        size_t digits = strspn(file->name, "0123456789");

        if (digits == 0 || digits >= sizeof(version))
            return fail(err, INVALID, "%s: the name does not begin with a number", file->name);
        memcpy(version, file->name, digits);
        params[1] = version;
    }
    st = pg_script(pg, file->text, err);
    if (st == OK)
        st = pg_query(pg, record_sql, params, ARRAY_LEN(params), NULL, err);
    return st == OK ? OK : fail_context(err, "%s", file->name);
}

static enum status apply_migrations(struct pg *pg, const struct applied *applied,
                                    struct buf *report, size_t *count, struct error *err)
{
    for (size_t i = 0; i < embedded_file_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        enum status st;

        if (file->kind != EMBEDDED_MIGRATION || state_of(applied, file) == FILE_APPLIED)
            continue;
        st = pg_script(pg, "begin", err);
        if (st == OK)
            st = apply_file(pg, file, err);
        if (st == OK && (st = pg_script(pg, "commit", err)) != OK)
            fail_context(err, "%s", file->name);
        if (st != OK)
            return st;
        buf_addf(report, "applied %s\n", file->name);
        (*count)++;
    }
    return OK;
}

static bool is_due(const struct applied *applied, const struct embedded_file *file, bool is_any_new)
{
    if (file->kind != EMBEDDED_REPEATABLE)
        return false;
    if (strcmp(file->name, GRANTS_FILE) == 0 && is_any_new)
        return true;
    return state_of(applied, file) != FILE_APPLIED;
}

/* One transaction for all: they call each other, so bodies are only checked when they run. */
static enum status apply_repeatables(struct pg *pg, const struct applied *applied,
                                     struct buf *report, size_t *count, struct error *err)
{
    enum status st = pg_script(pg, "begin; set local check_function_bodies = off", err);

    for (size_t i = 0; st == OK && i < embedded_file_count; i++) {
        const struct embedded_file *file = &embedded_files[i];

        if (!is_due(applied, file, *count > 0))
            continue;
        st = apply_file(pg, file, err);
        buf_addf(report, "applied %s\n", file->name);
        (*count)++;
    }
    return st == OK ? pg_script(pg, "commit", err) : st;
}

/* The session-level lock goes with the connection. */
static enum status lock_and_prepare(struct pg *pg, struct error *err)
{
    enum status st =
        pg_script(pg, "select pg_advisory_lock(hashtextextended('switchboard.migrate', 0))", err);

    return st == OK ? pg_script(pg, bookkeeping_sql, err) : st;
}

enum status migrate_apply(const struct config *config, struct buf *report, struct error *err)
{
    struct applied applied = {NULL};
    struct pg *pg = NULL;
    size_t count = 0;
    enum status st;

    st = database_auth_open(config, &pg, err);
    if (st == OK)
        st = lock_and_prepare(pg, err);
    if (st == OK)
        st = load_applied(pg, &applied, err);
    if (st == OK)
        st = check_applied(&applied, err);
    if (st == OK)
        st = apply_migrations(pg, &applied, report, &count, err);
    if (st == OK)
        st = apply_repeatables(pg, &applied, report, &count, err);
    if (st == OK && count == 0)
        buf_adds(report, "nothing to apply\n");
    pg_rows_free(applied.rows);
    pg_close(pg);
    return st;
}

/* ---- status ---- */

static void write_file(struct buf *report, bool json, const char *state, const char *name)
{
    if (!json) {
        buf_addf(report, "%-8s %s\n", state, name);
        return;
    }
    json_open(report, NULL, '{');
    json_str(report, "name", name);
    json_str(report, "state", state);
    json_close(report, '}');
}

static void write_status(const struct applied *applied, bool json, struct buf *report)
{
    static const char *const words[] = {
        [FILE_APPLIED] = "applied", [FILE_PENDING] = "pending", [FILE_CHANGED] = "changed"};

    if (json)
        json_open(report, NULL, '[');
    for (size_t i = 0; i < embedded_file_count; i++)
        write_file(report, json, words[state_of(applied, &embedded_files[i])],
                   embedded_files[i].name);
    for (size_t i = 0; i < applied_count(applied); i++)
        if (!is_embedded(rows_text(applied->rows, i, COLUMN_NAME)))
            write_file(report, json, "unknown", rows_text(applied->rows, i, COLUMN_NAME));
    if (json) {
        json_close(report, ']');
        buf_addc(report, '\n');
    }
}

enum status migrate_status(const struct config *config, bool json, struct buf *report,
                           struct error *err)
{
    struct applied applied = {NULL};
    struct pg *pg = NULL;
    enum status st;

    st = database_auth_open(config, &pg, err);
    if (st == OK)
        st = load_applied(pg, &applied, err);
    if (st == OK)
        write_status(&applied, json, report);
    pg_rows_free(applied.rows);
    pg_close(pg);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line in the log for an event whose route raised an error, with the function that was to
 * blame.
 */
#include "backend_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connections.h"
#include "log.h"
#include "store.h"

/* What the line says, kept until the database has named the function. */
struct failure_line {
    char tag[16];
    char route_key[128];
    char request_id[FOREIGN_ID_BYTES];
    char sqlstate[6];
    char text[ERROR_TEXT_BYTES];
};

const char *redact_error(char *text, const char *sqlstate)
{
    char *open = strncmp(sqlstate, "22", 2) == 0 ? strchr(text, '"') : NULL;
    char *close = open ? strrchr(open + 1, '"') : NULL;

    if (open && close) {
        open[1] = '*';
        memmove(open + 2, close, strlen(close) + 1);
    } else if (open) {
        open[1] = '\0'; /* cut off inside the quotes */
    }
    return text;
}

static void on_named(void *ctx, const struct error *err, const struct rows *rows)
{
    struct failure_line *line = ctx;
    const char *function = !err && rows_count(rows) > 0 ? rows_text(rows, 0, 0) : NULL;

    log_warn("route.error", "connection=%s route=%s function=%s request=%s sqlstate=%s error=%s",
             line->tag, log_quote(line->route_key), log_quote(function), line->request_id,
             line->sqlstate, log_quote(redact_error(line->text, line->sqlstate)));
    free(line);
}

/* As find_message_route() has it: the route of that name, else "$default". */
void log_route_failure(struct backend *backend, const struct route_failure *failure)
{
    struct failure_line *line = mem_alloc(sizeof(*line));
    const struct connection *connection = failure->connection;
    const char *params[] = {backend->routes, failure->route_key};
    struct store_query query = {
        .lane = STORE_EVENT,
        /* In front of what the client is told. */
        .slot = connection && connection->on_slot > 0 ? connection->slot : STORE_ANY_SLOT,
        .name = "name_route",
        .sql = "select format('%I.%I', t.schema_name, t.route_key)"
               "  from switchboard.route_table($1) as t"
               " where t.route_key in ($2, case when $2 !~ '^\\$' then '$default' end)"
               " order by t.route_key = $2 desc"
               " limit 1",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    snprintf(line->tag, sizeof(line->tag), "%s", connection ? connection_tag(connection) : "-");
    snprintf(line->route_key, sizeof(line->route_key), "%s", failure->route_key);
    snprintf(line->request_id, sizeof(line->request_id), "%s",
             failure->request_id ? failure->request_id : "-");
    snprintf(line->sqlstate, sizeof(line->sqlstate), "%s", failure->sqlstate);
    snprintf(line->text, sizeof(line->text), "%s", failure->text);
    store_call(backend->env.store, &query, on_named, line);
}

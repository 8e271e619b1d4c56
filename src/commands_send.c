/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands_send.c - sending and publishing from the command line, and the table of routes.
 *
 * A connection is asked for at the admin port first: the node that has it answers whether it is
 * there and reads.  Everything else is a row in the outbox, so the database suffices.
 */
#include "commands_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "http_client.h"
#include "json.h"
#include "pgarray.h"

enum { POST_TIMEOUT_MS = 5000, URL_BYTES = 4096, ANSWER_BYTES = 65536 };

/* ---- output ---- */

/* What a command has done, in words and as members of an object. */
struct outcome {
    const char *key; /* of what was named; NULL: nothing was */
    const char *value;
    int64_t id;      /* in the outbox; -1: none */
    int64_t reached; /* connections; -1: not known */
};

static void print_text(const struct outcome *outcome)
{
    if (outcome->reached >= 0)
        printf("%s: %" PRId64 " connection%s\n", outcome->reached ? "sent" : "nobody is there",
               outcome->reached, outcome->reached == 1 ? "" : "s");
    else
        printf("published: %" PRId64 "\n", outcome->id);
}

static int report(const struct invocation *invocation, const struct outcome *outcome)
{
    struct buf out;

    if (invocation->is_json) {
        buf_init(&out, COMMAND_OUTPUT_BYTES);
        json_open(&out, NULL, '{');
        if (outcome->key)
            json_str(&out, outcome->key, outcome->value);
        if (outcome->id >= 0)
            json_int(&out, "id", outcome->id);
        if (outcome->reached >= 0)
            json_int(&out, "reached", outcome->reached);
        json_close(&out, '}');
        buf_addc(&out, '\n');
        print(&out);
    } else {
        print_text(outcome);
    }
    return outcome->reached == 0 ? EXIT_FAILED : EXIT_OK;
}

/* ---- the database ---- */

static enum status query(const struct config *config, const char *sql, const char *const *params,
                         size_t count, struct rows **rows, struct error *err)
{
    struct pg *pg = NULL;
    enum status st = open_database(config, &pg, err);

    if (st == OK)
        st = pg_query(pg, sql, params, count, rows, err);
    pg_close(pg);
    return st;
}

/* sql gives the id in the outbox and how many are reached; null where there is no such thing. */
static int run_sql(const struct invocation *invocation, struct outcome outcome, const char *sql,
                   const char *const *params, size_t count)
{
    struct rows *rows = NULL;
    struct error err = {0};

    if (query(invocation->config, sql, params, count, &rows, &err) != OK)
        return fail_command(&err);
    outcome.id = rows_text(rows, 0, 0) ? rows_int(rows, 0, 0) : -1;
    outcome.reached = rows_text(rows, 0, 1) ? rows_int(rows, 0, 1) : -1;
    pg_rows_free(rows);
    return report(invocation, &outcome);
}

static int send_to_user(const struct invocation *invocation, const char *payload)
{
    const char *params[] = {invocation->user, payload};

    return run_sql(invocation, (struct outcome){.key = "userId", .value = invocation->user},
                   "select null, switchboard.send_to_user($1, $2::jsonb)", params,
                   ARRAY_LEN(params));
}

static int publish(const struct invocation *invocation, const char *topic, const char *payload)
{
    const char *params[] = {topic, payload};

    return run_sql(invocation, (struct outcome){.key = "topic", .value = topic},
                   "select switchboard.publish($1, $2::jsonb), null", params, ARRAY_LEN(params));
}

static int publish_to_all(const struct invocation *invocation, const char *payload)
{
    const char *params[] = {payload};

    return run_sql(invocation, (struct outcome){0},
                   "select switchboard.publish_to_all($1::jsonb),"
                   " switchboard.active_connection_count()",
                   params, ARRAY_LEN(params));
}

/* ---- one connection ---- */

static void add_encoded(struct buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-_.~", c))
            buf_addc(out, (char)c);
        else
            buf_addf(out, "%%%02X", c);
    }
}

/* False when no server answers there, or none that can say. */
static bool post(const struct config *config, const char *id, const char *text, long *http_status)
{
    struct http_client_request request = {.body = text,
                                          .content_type = "text/plain",
                                          .timeout_ms = POST_TIMEOUT_MS,
                                          .is_local = true};
    struct buf url, answer;
    bool is_answered = false;

    buf_init(&url, URL_BYTES);
    buf_init(&answer, ANSWER_BYTES);
    write_admin_url(config, "/@connections/", &url);
    add_encoded(&url, id);
    request.url = buf_str(&url);
    if (!buf_full(&url) && http_client_setup(NULL) == OK) {
        is_answered = http_client_request(&request, &answer, http_status, NULL) == OK;
        http_client_done();
    }
    buf_done(&url);
    buf_done(&answer);
    return is_answered;
}

static int send_to_connection(const struct invocation *invocation, const char *id, const char *text)
{
    struct outcome outcome = {.key = "connectionId", .value = id, .id = -1};
    const char *params[] = {id, text};
    struct error err = {0};
    long http_status = 0;

    if (post(invocation->config, id, text, &http_status)) {
        outcome.reached = http_status == 200;
        if (http_status == 200 || http_status == 410)
            return report(invocation, &outcome);
        if (http_status == 413 || http_status == 429) {
            fail(&err, LIMIT, "%s",
                 http_status == 413 ? "the text is larger than 128 KiB"
                                    : "the client does not read fast enough");
            return fail_command(&err);
        }
    }
    return run_sql(invocation, outcome,
                   "select null, switchboard.post_to_connection($1, $2)::integer", params,
                   ARRAY_LEN(params));
}

/* ---- commands ---- */

int run_send(const struct invocation *invocation)
{
    const char *first = invocation->arguments[0];
    const char *second = invocation->arguments[1];
    int targets = (invocation->user != NULL) + (invocation->topic != NULL) + invocation->is_all +
                  (second != NULL);

    if (targets != 1)
        return fail_usage("send takes one of: a connection, --user, --topic, --all; then the text");
    if (invocation->user)
        return send_to_user(invocation, first);
    if (invocation->topic)
        return publish(invocation, invocation->topic, first);
    if (invocation->is_all)
        return publish_to_all(invocation, first);
    return send_to_connection(invocation, first, second);
}

int run_publish(const struct invocation *invocation)
{
    return publish(invocation, invocation->arguments[0], invocation->arguments[1]);
}

int run_broadcast(const struct invocation *invocation)
{
    return publish_to_all(invocation, invocation->arguments[0]);
}

/* ---- routes ---- */

static void print_routes(const struct rows *rows, bool is_json)
{
    struct buf out;

    buf_init(&out, COMMAND_OUTPUT_BYTES);
    if (is_json)
        json_open(&out, NULL, '[');
    else
        buf_addf(&out, "%-24s  %-20s  %s\n", "route", "schema", "function");
    for (size_t i = 0; i < rows_count(rows); i++) {
        if (is_json) {
            json_open(&out, NULL, '{');
            json_str(&out, "route", rows_text(rows, i, 0));
            json_str(&out, "schema", rows_text(rows, i, 1));
            json_str(&out, "function", rows_text(rows, i, 2));
            json_close(&out, '}');
        } else {
            buf_addf(&out, "%-24s  %-20s  %s\n", rows_text(rows, i, 0), rows_text(rows, i, 1),
                     rows_text(rows, i, 2));
        }
    }
    if (is_json) {
        json_close(&out, ']');
        buf_addc(&out, '\n');
    }
    print(&out);
}

int run_routes(const struct invocation *invocation)
{
    const char *params[1];
    struct rows *rows = NULL;
    struct error err = {0};
    struct buf schemas;
    enum status st;

    buf_init(&schemas, COMMAND_OUTPUT_BYTES);
    pgarray_begin(&schemas);
    pgarray_add_list(&schemas, invocation->config->routes);
    pgarray_add(&schemas, invocation->config->profile);
    pgarray_end(&schemas);
    params[0] = buf_str(&schemas);
    st = query(invocation->config,
               "select route_key, schema_name, function_name"
               " from switchboard.route_table($1::text[])",
               params, ARRAY_LEN(params), &rows, &err);
    buf_done(&schemas);
    if (st != OK)
        return fail_command(&err);
    print_routes(rows, invocation->is_json);
    pg_rows_free(rows);
    return EXIT_OK;
}

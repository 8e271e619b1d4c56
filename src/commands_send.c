/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands_send.c - sending and publishing from the command line, and the table of routes.
 *
 * A connection is asked for at the admin port first: the node that has it answers whether it is
 * there and reads.  Everything else is a row in the outbox, so the database suffices.
 */
#include "commands_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "http_client.h"
#include "http_head.h"
#include "json.h"
#include "messages.h"
#include "pgarray.h"
#include "sigv4.h"

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

/* What a server with a key wants to see. */
struct signed_lines {
    char authorization[SIGV4_AUTHORIZATION_BYTES + 16];
    char date[SIGV4_DATE_BYTES + 16];
    const char *lines[3];
};

static bool sign(const struct config *config, const char *url, const char *text,
                 struct signed_lines *out)
{
    const char *authority = strstr(url, "://") + 3;
    const char *path = strchr(authority, '/');
    char *host = mem_strndup(authority, (size_t)(path - authority));
    struct sigv4_header header = {"Host", host};
    struct sigv4_request request = {
        .method = "POST",
        .path = path,
        .headers = &header,
        .header_count = 1,
        .body = text,
        .body_len = strlen(text),
    };
    struct sigv4_credentials credentials = {config->management_access_key_id,
                                            config->management_secret_access_key, NULL};
    struct sigv4_signature signature;
    bool is_signed = sigv4_sign(&request, &credentials, "us-east-1", "execute-api",
                                clock_unix_ms() / 1000, &signature) == OK;

    free(host);
    if (!is_signed)
        return false;
    snprintf(out->authorization, sizeof(out->authorization), "Authorization: %s",
             signature.authorization);
    snprintf(out->date, sizeof(out->date), "X-Amz-Date: %s", signature.date);
    out->lines[0] = out->authorization;
    out->lines[1] = out->date;
    out->lines[2] = NULL;
    return true;
}

/* False when no server answers there, or none that can say. */
static bool post(const struct config *config, const char *id, const char *text, long *http_status)
{
    struct http_client_request request = {.body = text,
                                          .content_type = "text/plain",
                                          .timeout_ms = POST_TIMEOUT_MS,
                                          .is_local = true};
    struct signed_lines lines;
    struct buf url, answer;
    bool is_answered = false;

    buf_init(&url, URL_BYTES);
    buf_init(&answer, ANSWER_BYTES);
    write_admin_url(config, "/@connections/", &url);
    url_encode(&url, (struct slice){id, strlen(id)}, false);
    request.url = buf_str(&url);
    if (*config->management_access_key_id && !buf_full(&url) &&
        sign(config, request.url, text, &lines))
        request.headers = lines.lines;
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

/* ---- typed messages ---- */

static bool write_system(const struct invocation *invocation, const char *text, struct buf *out)
{
    enum message_level level = MESSAGE_INFO;

    if (invocation->level && !message_parse_level(invocation->level, &level))
        return false;
    message_write_system(out, text, level);
    return true;
}

static bool write_error(const struct invocation *invocation, const char *text, struct buf *out)
{
    int64_t retry_after = MESSAGE_NO_RETRY_AFTER;
    char *end;

    if (invocation->retry_after) {
        errno = 0;
        retry_after = strtoll(invocation->retry_after, &end, 10);
        if (errno || end == invocation->retry_after || *end || retry_after < 0 ||
            retry_after > INT32_MAX)
            return false;
    }
    message_write_error(out, invocation->error_code, text, invocation->is_retryable, retry_after);
    return true;
}

static bool write_typing(const char *text, struct buf *out)
{
    bool is_on = strcmp(text, "on") == 0;

    if (!is_on && strcmp(text, "off") != 0)
        return false;
    message_write_typing_indicator(out, is_on);
    return true;
}

/* The text, or the typed message that has it: what is wrong with the flags, or NULL. */
static const char *write_payload(const struct invocation *invocation, const char *text,
                                 struct buf *out)
{
    bool is_error = invocation->error_code != NULL;
    bool is_response = invocation->response_id != NULL;

    if (invocation->is_system + invocation->is_typing + is_error + is_response > 1)
        return "a message has one type";
    if (invocation->level && !invocation->is_system)
        return "--level belongs to --system";
    if ((invocation->is_retryable || invocation->retry_after) && !is_error)
        return "--retryable and --retry-after belong to --error";
    if (invocation->is_partial && !is_response)
        return "--partial belongs to --chat-response";
    if (invocation->is_system)
        return write_system(invocation, text, out) ? NULL : "--level takes info, warning or error";
    if (is_error)
        return write_error(invocation, text, out) ? NULL : "--retry-after takes seconds";
    if (invocation->is_typing)
        return write_typing(text, out) ? NULL : "the text of --typing is on or off";
    if (is_response)
        message_write_chat_response(out, invocation->response_id, text, !invocation->is_partial,
                                    NULL);
    else
        buf_adds(out, text);
    return NULL;
}

/* ---- commands ---- */

static int send_payload(const struct invocation *invocation, const char *payload)
{
    if (invocation->user)
        return send_to_user(invocation, payload);
    if (invocation->topic)
        return publish(invocation, invocation->topic, payload);
    if (invocation->is_all)
        return publish_to_all(invocation, payload);
    return send_to_connection(invocation, invocation->arguments[0], payload);
}

int run_send(const struct invocation *invocation)
{
    const char *first = invocation->arguments[0];
    const char *second = invocation->arguments[1];
    int targets = (invocation->user != NULL) + (invocation->topic != NULL) + invocation->is_all +
                  (second != NULL);
    struct buf payload;
    const char *wrong;
    int code;

    if (targets != 1)
        return fail_usage("send takes one of: a connection, --user, --topic, --all; then the text");
    buf_init(&payload, COMMAND_OUTPUT_BYTES);
    wrong = write_payload(invocation, second ? second : first, &payload);
    code = wrong ? fail_usage(wrong) : send_payload(invocation, buf_str(&payload));
    buf_done(&payload);
    return code;
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

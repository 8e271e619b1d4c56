/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lambda_handler.c - what an event is, and what is done about it.
 *
 * MESSAGE: the route, what it sends, then the response.  CONNECT: the route, the response, then
 * what the new connection gets: before, it would not be found.  What is asynchronous (schedule,
 * queues) is answered with an error when it failed, because Lambda then tries again.
 */
#include "lambda_internal.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "database_auth.h"
#include "json.h"
#include "log.h"
#include "migrate.h"
#include "pg.h"

enum { RESPONSE_BYTES = 256 * 1024, MAX_RECORDS = 10000 };

/* The commands in the records of a queue, or in one event. */
struct batch {
    bool is_queue; /* SQS: each record fails for itself */
    size_t next;
    size_t count;
    size_t failed_count;
    char *first_error;
    char **commands;    /* JSON texts */
    char **message_ids; /* NULL where there is none */
    bool *has_failed;
};

/* ---- the end of an invocation ---- */

/* Counted while an invocation runs. */
struct counter {
    const char *name;
    size_t offset; /* in struct metrics */
};

static const struct counter counters[] = {
    {"Sent", offsetof(struct metrics, sender_sent)},
    {"Gone", offsetof(struct metrics, sender_gone)},
    {"SendFailed", offsetof(struct metrics, sender_failed)},
    {"Throttled", offsetof(struct metrics, throttled)},
    {"RouteErrors", offsetof(struct metrics, route_errors)},
};

static int64_t counted(const struct lambda *lambda, const struct counter *counter)
{
    uint64_t before, now;

    memcpy(&before, (const char *)&lambda->before + counter->offset, sizeof(before));
    memcpy(&now, (const char *)&lambda->metrics + counter->offset, sizeof(now));
    return (int64_t)(now - before);
}

static void write_metric(struct buf *line, const char *name, const char *unit)
{
    json_open(line, NULL, '{');
    json_str(line, "Name", name);
    json_str(line, "Unit", unit);
    json_close(line, '}');
}

/* Which members of the line are metrics, and which their dimensions. */
static void write_directive(struct buf *line)
{
    static const char dimensions[] = "[[\"Function\",\"Route\"]]";

    json_open(line, "_aws", '{');
    json_int(line, "Timestamp", clock_unix_ms());
    json_open(line, "CloudWatchMetrics", '[');
    json_open(line, NULL, '{');
    json_str(line, "Namespace", "Switchboard");
    json_raw(line, "Dimensions", dimensions, sizeof(dimensions) - 1);
    json_open(line, "Metrics", '[');
    write_metric(line, "Duration", "Milliseconds");
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        write_metric(line, counters[i].name, "Count");
    json_close(line, ']');
    json_close(line, '}');
    json_close(line, ']');
    json_close(line, '}');
}

/* One line in CloudWatch's embedded metric format.  Routes are those of the API: few. */
static void write_metrics(const struct lambda *lambda)
{
    const char *function = getenv("AWS_LAMBDA_FUNCTION_NAME");
    const char *route = lambda->has_event ? lambda->event.route_key : NULL;
    struct buf line;

    buf_init(&line, RESPONSE_BYTES);
    json_open(&line, NULL, '{');
    write_directive(&line);
    json_str(&line, "Function", function ? function : "-");
    json_str(&line, "Route", route ? route : "-");
    json_int(&line, "Duration", clock_mono_ms() - lambda->began_ms);
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        json_int(&line, counters[i].name, counted(lambda, &counters[i]));
    json_bool(&line, "cold", lambda->is_first);
    json_close(&line, '}');
    if (!buf_full(&line)) {
        puts(buf_str(&line)); /* line by line: standard output is a pipe */
        fflush(stdout);
    }
    buf_done(&line);
}

static void finish(struct lambda *lambda)
{
    log_debug("lambda.done", "kind=%s ms=%lld cold=%s", incoming_kind_name(lambda->event.kind),
              (long long)(clock_mono_ms() - lambda->began_ms), lambda->is_first ? "yes" : "no");
    write_metrics(lambda);
    if (lambda->has_event)
        incoming_done(&lambda->event);
    lambda->has_event = false;
    free(lambda->body);
    lambda->body = NULL;
    lambda->is_first = false;
    lambda_next(lambda);
}

static void respond(struct lambda *lambda, const char *json)
{
    lambda_respond(lambda, json, strlen(json), finish);
}

/* ---- routes ---- */

static void on_flushed_behind(void *ctx, size_t sent)
{
    (void)sent;
    finish(ctx);
}

static void flush_behind(struct lambda *lambda)
{
    stateless_flush(lambda->stateless, lambda->deadline_ms, on_flushed_behind, lambda);
}

/* Kept between the route's answer and the flush in front of the response. */
struct answered {
    struct lambda *lambda;
    struct buf response;
};

static void on_flushed_in_front(void *ctx, size_t sent)
{
    struct answered *answered = ctx;

    (void)sent;
    lambda_respond(answered->lambda, buf_str(&answered->response), answered->response.len, finish);
    buf_done(&answered->response);
    free(answered);
}

static void on_event(void *ctx, const struct stateless_response *response)
{
    struct lambda *lambda = ctx;
    struct answered *answered = mem_alloc(sizeof(*answered));

    answered->lambda = lambda;
    buf_init(&answered->response, RESPONSE_BYTES);
    stateless_write_response(response, &answered->response);
    if (lambda->event.kind != INCOMING_CONNECT) {
        stateless_flush(lambda->stateless, lambda->deadline_ms, on_flushed_in_front, answered);
        return;
    }
    lambda_respond(lambda, buf_str(&answered->response), answered->response.len, flush_behind);
    buf_done(&answered->response);
    free(answered);
}

static void on_policy(void *ctx, int status, const char *text)
{
    struct lambda *lambda = ctx;

    /* "Unauthorized", to the letter, is what API Gateway makes a 401 of. */
    if (status == 200)
        respond(lambda, text);
    else
        lambda_fail(lambda, status == 401 ? "Function.Unauthorized" : "Function.AuthorizerFailed",
                    text, finish);
}

/* ---- commands ---- */

/* The role that the routes' functions run as: it logs in, with a token where there is rds_iam. */
static const char create_role_sql[] =
    "do $$ declare name constant text := current_setting('switchboard.new_role');"
    " begin"
    " if not exists (select from pg_catalog.pg_roles where rolname = name) then"
    "  execute format('create role %I login', name);"
    " end if;"
    " execute format('grant switchboard_service to %I', name);"
    " if exists (select from pg_catalog.pg_roles where rolname = 'rds_iam') then"
    "  execute format('grant rds_iam to %I', name);"
    " end if;"
    " end $$";

static enum status create_service_role(const struct lambda *lambda, const char *role,
                                       struct error *err)
{
    const char *params[] = {role};
    struct pg *pg = NULL;
    struct rows *rows = NULL;
    enum status st = database_auth_open(lambda->config, &pg, err);

    if (st == OK)
        st = pg_query(pg, "select set_config('switchboard.new_role', $1, false)", params, 1, &rows,
                      err);
    pg_rows_free(rows);
    if (st == OK)
        st = pg_script(pg, create_role_sql, err);
    pg_close(pg);
    return st;
}

/* Blocks, which is fine: one event at a time, and nothing can be done before it is over. */
static enum status run_migrate(struct lambda *lambda, const struct incoming *event,
                               struct buf *answer, struct error *err)
{
    const char *role = NULL;
    struct buf report;
    enum status st = json_opt_str(event->document, "service_role", &role, err);

    buf_init(&report, RESPONSE_BYTES);
    if (st == OK)
        st = migrate_apply(lambda->config, &report, err);
    if (st == OK && role && *role)
        st = create_service_role(lambda, role, err);
    if (st == OK) {
        json_open(answer, NULL, '{');
        json_bool(answer, "migrated", true);
        json_str(answer, "report", buf_str(&report));
        json_close(answer, '}');
    }
    buf_done(&report);
    return st;
}

static void on_command(void *ctx, const struct error *err, const char *text)
{
    struct lambda *lambda = ctx;

    if (!err) {
        respond(lambda, text);
        return;
    }
    log_warn("lambda.command_failed", "error=%s sqlstate=%s", log_quote(err->text), err->sqlstate);
    lambda_fail(lambda, err->status == INVALID ? "Function.BadRequest" : "Function.Failed",
                err->text, finish);
}

static void run_command(struct lambda *lambda)
{
    const struct incoming *event = &lambda->event;
    struct error err = {0};
    struct buf answer;

    if (strcmp(event->op, "migrate") != 0) {
        stateless_command(lambda->stateless, event, lambda->deadline_ms, on_command, lambda);
        return;
    }
    buf_init(&answer, RESPONSE_BYTES);
    if (run_migrate(lambda, event, &answer, &err) == OK)
        on_command(lambda, NULL, buf_str(&answer));
    else
        on_command(lambda, &err, NULL);
    buf_done(&answer);
}

/* ---- commands in records: SQS, SNS, EventBridge ---- */

static void batch_free(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->commands[i]);
        free(batch->message_ids[i]);
    }
    free(batch->commands);
    free(batch->message_ids);
    free(batch->has_failed);
    free(batch->first_error);
    free(batch);
}

static struct batch *batch_create(size_t most)
{
    struct batch *batch = mem_alloc(sizeof(*batch));

    batch->commands = mem_alloc(most * sizeof(*batch->commands));
    batch->message_ids = mem_alloc(most * sizeof(*batch->message_ids));
    batch->has_failed = mem_alloc(most * sizeof(*batch->has_failed));
    return batch;
}

static const char *member_text(const struct json *object, const char *key)
{
    const struct json *value =
        object && json_type(object) == JSON_OBJECT ? json_get(object, key) : NULL;

    return value ? json_text(value) : NULL;
}

/* SQS: body; SNS: Sns.Message. */
static struct batch *read_records(const struct json *document, bool is_queue)
{
    const struct json *records = json_get(document, "Records");
    size_t most = json_len(records) < MAX_RECORDS ? json_len(records) : MAX_RECORDS;
    struct batch *batch = batch_create(most + 1);

    batch->is_queue = is_queue;
    for (size_t i = 0; i < most; i++) {
        const struct json *record = json_at(records, i);
        const struct json *holder =
            is_queue || json_type(record) != JSON_OBJECT ? record : json_get(record, "Sns");
        const char *text = member_text(holder, is_queue ? "body" : "Message");

        batch->commands[batch->count] = mem_strdup(text ? text : "");
        batch->message_ids[batch->count++] = mem_strdup(member_text(record, "messageId"));
    }
    return batch;
}

static struct batch *read_detail(const struct json *document)
{
    struct batch *batch = batch_create(1);
    struct buf text;

    buf_init(&text, SIZE_MAX); /* a part of what came */
    json_write(&text, NULL, json_get(document, "detail"));
    batch->commands[0] = buf_take(&text);
    batch->count = 1;
    return batch;
}

static void finish_batch(struct lambda *lambda)
{
    struct batch *batch = lambda->batch;
    struct buf answer;

    lambda->batch = NULL;
    buf_init(&answer, LAMBDA_RESPONSE_BYTES);
    json_open(&answer, NULL, '{');
    json_open(&answer, "batchItemFailures", '[');
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->has_failed[i] || !batch->message_ids[i])
            continue;
        json_open(&answer, NULL, '{');
        json_str(&answer, "itemIdentifier", batch->message_ids[i]);
        json_close(&answer, '}');
    }
    json_close(&answer, ']');
    json_close(&answer, '}');
    if (batch->failed_count == 0 || batch->is_queue)
        respond(lambda, buf_str(&answer));
    else
        lambda_fail(lambda, "Function.Failed", batch->first_error, finish);
    buf_done(&answer);
    batch_free(batch);
}

static void run_next_record(struct lambda *lambda);

static void end_record(struct lambda *lambda, const char *error)
{
    struct batch *batch = lambda->batch;

    if (error) {
        log_warn("lambda.record_failed", "error=%s", log_quote(error));
        batch->has_failed[batch->next] = true;
        batch->failed_count++;
        if (!batch->first_error)
            batch->first_error = mem_strdup(error);
    }
    batch->next++;
    run_next_record(lambda);
}

static void on_record(void *ctx, const struct error *err, const char *text)
{
    (void)text;
    end_record(ctx, err ? err->text : NULL);
}

static void run_next_record(struct lambda *lambda)
{
    struct batch *batch = lambda->batch;
    struct incoming command;
    struct error err = {0};

    if (batch->next == batch->count || lambda->is_stopping) {
        finish_batch(lambda);
        return;
    }
    if (incoming_parse(batch->commands[batch->next], strlen(batch->commands[batch->next]), &command,
                       &err) != OK) {
        end_record(lambda, err.text);
        return;
    }
    if (command.kind == INCOMING_COMMAND)
        stateless_command(lambda->stateless, &command, lambda->deadline_ms, on_record, lambda);
    else
        end_record(lambda, "a record holds no command {\"op\":...}");
    incoming_done(&command);
}

static void run_records(struct lambda *lambda, struct batch *batch)
{
    lambda->batch = batch;
    run_next_record(lambda);
}

/* ---- which one ---- */

static void handle_event(struct lambda *lambda)
{
    const struct incoming *event = &lambda->event;

    switch (event->kind) {
    case INCOMING_AUTHORIZER:
        stateless_authorize(lambda->stateless, event, on_policy, lambda);
        break;
    case INCOMING_CONNECT:
    case INCOMING_MESSAGE:
    case INCOMING_DISCONNECT:
        stateless_event(lambda->stateless, event, lambda->deadline_ms, on_event, lambda);
        break;
    case INCOMING_SCHEDULE:
        stateless_housekeep(lambda->stateless, lambda->deadline_ms, on_command, lambda);
        break;
    case INCOMING_EVENTBRIDGE:
        run_records(lambda, read_detail(event->document));
        break;
    case INCOMING_SQS:
        run_records(lambda, read_records(event->document, true));
        break;
    case INCOMING_SNS:
        run_records(lambda, read_records(event->document, false));
        break;
    case INCOMING_HTTP:
        respond(lambda, "{\"statusCode\":400,\"body\":\"This function answers WebSocket APIs\"}");
        break;
    case INCOMING_COMMAND:
        run_command(lambda);
        break;
    case INCOMING_UNKNOWN:
        lambda_fail(lambda, "Function.UnknownEvent", "this is no event that is known here", finish);
        break;
    }
}

void lambda_handle(struct lambda *lambda)
{
    struct error err = {0};

    lambda->before = lambda->metrics;
    if (incoming_parse(lambda->body, lambda->body_len, &lambda->event, &err) != OK) {
        lambda->event = (struct incoming){.kind = INCOMING_UNKNOWN};
        lambda_fail(lambda, "Function.UnknownEvent", err.text, finish);
        return;
    }
    lambda->has_event = true;
    handle_event(lambda);
}

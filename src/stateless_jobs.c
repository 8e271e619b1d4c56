/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stateless_jobs.c - settings, authorizers, the schedule and commands.
 */
#include "stateless_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "gateway_auth.h"
#include "http_head.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "profile.h"

enum { CLAIMS_BYTES = 64 * 1024, ANSWER_BYTES = 4096 };

/* ---- settings ---- */

struct waiting {
    struct stateless *stateless;
    stateless_ready *ready;
    void *ctx;
};

static void take_settings(struct stateless *stateless, const char *text)
{
    struct error err = {0};

    stateless->settings_ms = clock_mono_ms();
    if (stateless->settings_text && strcmp(stateless->settings_text, text) == 0)
        return;
    free(stateless->settings_text);
    stateless->settings_text = mem_strdup(text);
    if (profile_settings_read(stateless->env.settings, text, stateless->env.config, &err) != OK)
        log_error("stateless.settings_refused", "error=%s next=%s", log_quote(err.text),
                  log_quote("keeping the settings of before"));
}

static void on_settings(void *ctx, const struct error *err, const struct rows *rows)
{
    struct waiting *waiting = ctx;
    struct stateless *stateless = waiting->stateless;
    bool is_known = stateless->settings_ms > 0;

    if (!err && rows_count(rows) > 0 && rows_text(rows, 0, 0)) {
        take_settings(stateless, rows_text(rows, 0, 0));
        is_known = true;
    }
    waiting->ready(waiting->ctx, is_known ? NULL : err);
    free(waiting);
}

void stateless_with_settings(struct stateless *stateless, stateless_ready *ready, void *ctx)
{
    const char *params[] = {backend_routes(stateless->backend)};
    const struct stateless_query query = {
        "profile_settings", "select switchboard.profile_settings($1)", params, ARRAY_LEN(params)};
    int64_t age_ms = clock_mono_ms() - stateless->settings_ms;
    struct waiting *waiting;

    if (stateless->settings_ms > 0 && age_ms < stateless->env.config->lease_ms) {
        ready(ctx, NULL);
        return;
    }
    waiting = mem_alloc(sizeof(*waiting));
    *waiting = (struct waiting){stateless, ready, ctx};
    stateless_query(stateless, &query, on_settings, waiting);
}

/* ---- tokens ---- */

/* As gateway_find_token reads it: from the head of the request. */
void stateless_find_token(const struct incoming *event, struct gateway_token *out)
{
    const char *token = incoming_query(event, "token");
    const char *authorization = incoming_header(event, "Authorization");
    const char *protocols = incoming_header(event, "Sec-WebSocket-Protocol");
    struct http_head head = {.minor_version = 1};
    struct buf query;

    buf_init(&query, SIZE_MAX); /* three times what came */
    buf_adds(&query, "token=");
    if (token) {
        url_encode(&query, (struct slice){token, strlen(token)}, false);
        head.query = (struct slice){query.data, query.len};
    }
    if (authorization)
        head.headers[head.header_count++] =
            (struct http_header){{"Authorization", 13}, {authorization, strlen(authorization)}};
    if (protocols)
        head.headers[head.header_count++] =
            (struct http_header){{"Sec-WebSocket-Protocol", 22}, {protocols, strlen(protocols)}};
    gateway_find_token(&head, out);
    buf_done(&query);
}

/* ---- authorizers ---- */

struct authorizing {
    struct stateless *stateless;
    char *method_arn;
    struct gateway_token token;
    struct jwks_waiter waiter;
    struct stateless_wait wait;
    stateless_policy_done *done;
    void *ctx;
};

static void answer_authorizer(struct authorizing *authorizing, int status, const char *text)
{
    authorizing->done(authorizing->ctx, status, text);
    free(authorizing->token.text);
    free(authorizing->method_arn);
    free(authorizing);
}

/* context: principalId and the rest, JSON object text; "{}": nobody in particular. */
static void allow(struct authorizing *authorizing, const char *context)
{
    struct json *json = NULL;
    const char *principal = "anonymous";
    struct buf out;

    buf_init(&out, SIZE_MAX); /* a few times the token */
    if (json_parse(context, strlen(context), &json, NULL) != OK ||
        json_opt_str(json, "principalId", &principal, NULL) != OK)
        principal = "anonymous";
    json_open(&out, NULL, '{');
    json_str(&out, "principalId", principal);
    json_open(&out, "policyDocument", '{');
    json_str(&out, "Version", "2012-10-17");
    json_open(&out, "Statement", '[');
    json_open(&out, NULL, '{');
    json_str(&out, "Action", "execute-api:Invoke");
    json_str(&out, "Effect", "Allow");
    json_str(&out, "Resource", authorizing->method_arn);
    json_close(&out, '}');
    json_close(&out, ']');
    json_close(&out, '}');
    json_open(&out, "context", '{');
    for (const struct json *m = json ? json_first(json) : NULL; m; m = json_next(m))
        if (strcmp(json_key(m), "principalId") != 0)
            json_write(&out, json_key(m), m);
    json_close(&out, '}');
    json_close(&out, '}');
    answer_authorizer(authorizing, 200, buf_str(&out));
    buf_done(&out);
    json_free(json);
}

static void decide(void *ctx);

static void give_up_keys(void *ctx)
{
    struct authorizing *authorizing = ctx;

    jwks_source_unwait(&authorizing->waiter);
    answer_authorizer(authorizing, 500, "Internal server error");
}

static void wait_for_keys(struct authorizing *authorizing)
{
    struct stateless *stateless = authorizing->stateless;

    if (!stateless_wait_begin(stateless, &authorizing->wait, give_up_keys, authorizing)) {
        answer_authorizer(authorizing, 500, "Internal server error");
        return;
    }
    authorizing->waiter = (struct jwks_waiter){.fn = decide, .ctx = authorizing};
    auth_wait(stateless->env.auth, &authorizing->waiter);
}

static void verify(struct authorizing *authorizing)
{
    struct stateless *stateless = authorizing->stateless;
    struct error err = {.text = "there is no token"};
    enum status st = DENIED;
    struct buf claims, context;

    buf_init(&claims, CLAIMS_BYTES);
    buf_init(&context, SIZE_MAX);
    if (authorizing->token.text)
        st = auth_verify(stateless->env.auth, authorizing->token.text, clock_unix_ms() / 1000,
                         &claims, &err);
    if (st == OK)
        (void)gateway_write_authorizer(claims.data, claims.len, &context);
    if (st == UNAVAILABLE) {
        wait_for_keys(authorizing);
    } else if (st == OK) {
        allow(authorizing, buf_str(&context));
    } else if (stateless->env.settings->auth == AUTH_REQUIRED) {
        log_debug("token.refused", "error=%s", log_quote(err.text));
        answer_authorizer(authorizing, 401, "Unauthorized");
    } else {
        allow(authorizing, "{}");
    }
    buf_done(&claims);
    buf_done(&context);
}

static void decide(void *ctx)
{
    struct authorizing *authorizing = ctx;

    stateless_wait_end(&authorizing->wait);
    verify(authorizing);
}

static void on_settings_for_authorizer(void *ctx, const struct error *err)
{
    if (err)
        answer_authorizer(ctx, 500, "Internal server error");
    else
        verify(ctx);
}

void stateless_authorize(struct stateless *stateless, const struct incoming *event,
                         stateless_policy_done *done, void *ctx)
{
    struct authorizing *authorizing = mem_alloc(sizeof(*authorizing));

    authorizing->stateless = stateless;
    authorizing->method_arn = mem_strdup(event->method_arn);
    authorizing->done = done;
    authorizing->ctx = ctx;
    stateless_find_token(event, &authorizing->token);
    stateless_with_settings(stateless, on_settings_for_authorizer, authorizing);
}

/* ---- the schedule ---- */

struct job {
    struct stateless *stateless;
    int64_t deadline_ms;
    int64_t expired, orphaned, deleted;
    int64_t created, dropped; /* partitions */
    struct buf answer;
    stateless_text_done *done;
    void *ctx;
};

static struct job *job_create(struct stateless *stateless, int64_t deadline_ms,
                              stateless_text_done *done, void *ctx)
{
    struct job *job = mem_alloc(sizeof(*job));

    job->stateless = stateless;
    job->deadline_ms = deadline_ms;
    job->done = done;
    job->ctx = ctx;
    buf_init(&job->answer, ANSWER_BYTES);
    return job;
}

static void end_job(struct job *job, const struct error *err)
{
    job->done(job->ctx, err, err ? NULL : buf_str(&job->answer));
    buf_done(&job->answer);
    free(job);
}

static void on_swept(void *ctx, size_t sent)
{
    struct job *job = ctx;

    log_info("cleanup.done", "expired=%lld orphaned=%lld deleted=%lld delivered=%zu",
             (long long)job->expired, (long long)job->orphaned, (long long)job->deleted, sent);
    json_open(&job->answer, NULL, '{');
    json_int(&job->answer, "expired", job->expired);
    json_int(&job->answer, "orphaned", job->orphaned);
    json_int(&job->answer, "deleted", job->deleted);
    json_int(&job->answer, "partitionsCreated", job->created);
    json_int(&job->answer, "partitionsDropped", job->dropped);
    json_int(&job->answer, "delivered", (int64_t)sent);
    json_close(&job->answer, '}');
    end_job(job, NULL);
}

static void on_partitions(void *ctx, const struct error *err, const struct rows *rows)
{
    struct job *job = ctx;

    if (err) {
        end_job(job, err);
        return;
    }
    job->created = rows_int(rows, 0, 0);
    job->dropped = rows_int(rows, 0, 1);
    stateless_flush(job->stateless, job->deadline_ms, on_swept, job);
}

static void maintain_partitions(struct job *job)
{
    char ahead[16], retention[24];
    const char *params[] = {ahead, retention};
    const struct stateless_query query = {
        NULL, "select created, dropped from switchboard.maintain_partitions($1, $2)", params,
        ARRAY_LEN(params)};

    snprintf(ahead, sizeof(ahead), "%d", PARTITION_DAYS_AHEAD);
    snprintf(retention, sizeof(retention), "%lld",
             (long long)job->stateless->env.settings->message_retention_days);
    stateless_query(job->stateless, &query, on_partitions, job);
}

static void clean_batch(struct job *job);

static void on_cleaned(void *ctx, const struct error *err, const struct rows *rows)
{
    struct job *job = ctx;
    int64_t expired, orphaned, deleted;

    if (err) {
        end_job(job, err);
        return;
    }
    expired = rows_int(rows, 0, 0);
    orphaned = rows_int(rows, 0, 1);
    deleted = rows_int(rows, 0, 2);
    job->expired += expired;
    job->orphaned += orphaned;
    job->deleted += deleted;
    if (expired + orphaned + deleted > 0 && clock_mono_ms() < job->deadline_ms)
        clean_batch(job);
    else
        maintain_partitions(job);
}

static void clean_batch(struct job *job)
{
    const struct config *config = job->stateless->env.config;
    char batch[24], retention[24];
    const char *params[] = {batch, retention};
    const struct stateless_query query = {
        NULL, "select expired, orphaned, deleted from switchboard.cleanup_connections($1, $2)",
        params, ARRAY_LEN(params)};

    snprintf(batch, sizeof(batch), "%lld", (long long)config->cleanup_batch);
    snprintf(retention, sizeof(retention), "%lld", (long long)config->inactive_retention_days);
    stateless_query(job->stateless, &query, on_cleaned, job);
}

static void on_settings_for_job(void *ctx, const struct error *err)
{
    if (err)
        end_job(ctx, err);
    else
        clean_batch(ctx);
}

void stateless_housekeep(struct stateless *stateless, int64_t deadline_ms,
                         stateless_text_done *done, void *ctx)
{
    stateless_with_settings(stateless, on_settings_for_job,
                            job_create(stateless, deadline_ms, done, ctx));
}

/* ---- commands ---- */

static void on_command_flushed(void *ctx, size_t sent)
{
    (void)sent;
    end_job(ctx, NULL);
}

/* The one column is the answer. */
static void on_command_done(void *ctx, const struct error *err, const struct rows *rows)
{
    struct job *job = ctx;

    if (err) {
        end_job(job, err);
        return;
    }
    buf_adds(&job->answer,
             rows_count(rows) > 0 && rows_text(rows, 0, 0) ? rows_text(rows, 0, 0) : "null");
    stateless_flush(job->stateless, job->deadline_ms, on_command_flushed, job);
}

static void on_left_delivered(void *ctx, size_t sent)
{
    struct job *job = ctx;

    json_open(&job->answer, NULL, '{');
    json_int(&job->answer, "delivered", (int64_t)sent);
    json_close(&job->answer, '}');
    end_job(job, NULL);
}

/* A command that is one call of a function of the API. */
struct command {
    const char *op;
    const char *target; /* member of the command: the first parameter */
    bool has_message;   /* member "message" as JSON text: the second one */
    const char *sql;
};

static const struct command commands[] = {
    {"verify-email", "email", false,
     "select jsonb_build_object('email', lower(btrim($1)), 'delivered',"
     " switchboard.notify_email_verified($1))"},
    {"send", "userId", true,
     "select jsonb_build_object('reached', switchboard.broadcast_to_user($1, $2::jsonb))"},
    {"send", "connectionId", true,
     "select jsonb_build_object('delivered', switchboard.send_to_connection($1, $2::jsonb))"},
    {"publish", "topic", true,
     "select jsonb_build_object('published', switchboard.publish($1, $2::jsonb) is not null)"},
};

static const struct command *find_command(const struct incoming *event)
{
    const char *target = NULL;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].op, event->op) == 0 &&
            json_opt_str(event->document, commands[i].target, &target, NULL) == OK && target)
            return &commands[i];
    return NULL;
}

static void run_command(struct job *job, const struct command *command,
                        const struct incoming *event)
{
    const struct json *message = json_get(event->document, "message");
    const char *params[2] = {NULL, NULL};
    const struct stateless_query query = {NULL, command->sql, params, command->has_message ? 2 : 1};
    struct error err = {0};
    struct buf text;

    buf_init(&text, SIZE_MAX); /* what came */
    if (message)
        json_write(&text, NULL, message);
    if (json_get_str(event->document, command->target, &params[0], &err) != OK ||
        (command->has_message && !message)) {
        if (err.status == OK)
            fail(&err, INVALID, "message is missing");
        end_job(job, &err);
    } else {
        params[1] = buf_str(&text);
        stateless_query(job->stateless, &query, on_command_done, job);
    }
    buf_done(&text);
}

void stateless_command(struct stateless *stateless, const struct incoming *event,
                       int64_t deadline_ms, stateless_text_done *done, void *ctx)
{
    const struct command *command = find_command(event);
    struct error err = {0};
    struct job *job;

    if (strcmp(event->op, "cleanup") == 0) {
        stateless_housekeep(stateless, deadline_ms, done, ctx);
        return;
    }
    job = job_create(stateless, deadline_ms, done, ctx);
    if (strcmp(event->op, "deliver") == 0) {
        stateless_flush(stateless, deadline_ms, on_left_delivered, job);
        return;
    }
    if (command) {
        run_command(job, command, event);
        return;
    }
    fail(&err, INVALID, "there is no op \"%.40s\" with these members", event->op);
    end_job(job, &err);
}

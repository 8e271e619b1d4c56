/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stateless_claims.c - what leaves: frames of a connection, and what the log has for connections
 * whose sockets another gateway holds.
 *
 * An entry of the log belongs to whoever has claimed it, for a time.  It is finished when it was
 * sent to each of its receivers; given back at once when that did not work for now; and when its
 * holder dies, the next one takes it when the time is over.  So a receiver may get an entry twice,
 * and never not at all.
 */
#include "stateless_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "connections.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pgarray.h"
#include "sender.h"

enum {
    CLAIM_MESSAGES = 100,
    CLAIM_MARGIN_MS = 2000, /* the claim outlives the deadline of what is sent by that much */
    GONE_CODE = 1006,
    BACKLOG_TICK_MS = 2
};

/* ---- frames of one connection ---- */

struct sending {
    struct stateless *stateless;
    char *connection_id;
    void (*on_sent)(void *ctx);
    void *ctx;
};

static void on_forgotten(void *ctx, const struct error *err, const struct rows *rows)
{
    (void)ctx;
    (void)rows;
    if (err)
        log_warn("stateless.forget_failed", "error=%s sqlstate=%s", log_quote(err->text),
                 err->sqlstate);
}

void stateless_forget(struct stateless *stateless, const char *connection_id)
{
    char code[16];
    struct buf ids;
    const char *params[] = {NULL, code, "Gone"};
    const struct stateless_query query = {"forget_connections",
                                          "select switchboard.forget_connections($1, $2, $3)",
                                          params, ARRAY_LEN(params)};

    snprintf(code, sizeof(code), "%d", GONE_CODE);
    buf_init(&ids, SIZE_MAX);
    pgarray_begin(&ids);
    pgarray_add(&ids, connection_id);
    pgarray_end(&ids);
    params[0] = buf_str(&ids);
    stateless_query(stateless, &query, on_forgotten, NULL);
    buf_done(&ids);
}

static void on_frame_sent(void *ctx, enum sender_result result)
{
    struct sending *sending = ctx;

    if (result == SENDER_SENT)
        sending->stateless->env.metrics->messages_out++;
    else if (result == SENDER_GONE)
        stateless_forget(sending->stateless, sending->connection_id);
    sending->on_sent(sending->ctx);
    free(sending->connection_id);
    free(sending);
}

static void send_one(struct stateless *stateless, const struct sender_message *message,
                     void (*on_sent)(void *ctx), void *ctx)
{
    struct sending *sending = mem_alloc(sizeof(*sending));

    sending->stateless = stateless;
    sending->connection_id = mem_strdup(message->connection_id);
    sending->on_sent = on_sent;
    sending->ctx = ctx;
    sender_send(stateless->env.sender, message, on_frame_sent, sending);
}

size_t stateless_send_frames(struct stateless *stateless, struct connection *connection,
                             const char *endpoint, int64_t deadline_ms, void (*on_sent)(void *ctx),
                             void *ctx)
{
    struct sender_message message = {.action = SENDER_POST,
                                     .endpoint = endpoint,
                                     .connection_id = connection->id,
                                     .is_new = !connection->socket, /* no event of its own */
                                     .deadline_ms = deadline_ms};
    size_t count = 0;
    size_t at = 0;

    while (frame_next(&connection->out, &at, &message.payload, &message.payload_len)) {
        send_one(stateless, &message, on_sent, ctx);
        count++;
    }
    buf_clear(&connection->out);
    if (!connection->has_close)
        return count;
    message.action = SENDER_DELETE;
    message.payload = NULL;
    message.payload_len = 0;
    send_one(stateless, &message, on_sent, ctx);
    return count + 1;
}

/* ---- the flush ---- */

struct flush {
    struct stateless *stateless;
    int64_t deadline_ms;
    size_t sent;
    size_t pending; /* on their way: frames of opened connections, or deliveries of the batch */
    bool is_first_over;
    bool is_ending;             /* nothing more is claimed */
    struct stateless_wait wait; /* for the backlog */
    struct timer *timer;
    struct entry *entries; /* of the batch: one for each seq */
    size_t entry_count;
    size_t settling;         /* statements about entries that the database has not answered */
    stateless_flushed *done; /* NULL: nobody waits, and it is gone before those are answered */
    void *ctx;
};

/* One entry of the log for one connection. */
struct entry {
    int64_t seq;
    char *connection_id;
    bool has_failed;
};

struct receiver {
    struct flush *flush;
    size_t entry;
};

static void claim(struct flush *flush);

static void finish(struct flush *flush)
{
    stateless_wait_end(&flush->wait);
    loop_timer_stop(flush->timer);
    free(flush->entries);
    flush->done(flush->ctx, flush->sent);
    free(flush);
}

/* What there still is for the database goes first: whoever called may be frozen next, or end. */
static void on_backlog_tick(void *ctx)
{
    struct flush *flush = ctx;

    if (backend_backlog(flush->stateless->backend) == 0 || clock_mono_ms() >= flush->deadline_ms)
        finish(flush);
}

static void give_up(void *ctx)
{
    finish(ctx);
}

static void finish_when_written(struct flush *flush)
{
    flush->is_ending = true;
    if (flush->settling > 0) /* on_settled goes on */
        return;
    if (backend_backlog(flush->stateless->backend) == 0 ||
        !stateless_wait_begin(flush->stateless, &flush->wait, give_up, flush))
        finish(flush);
    else
        flush->timer = loop_timer(flush->stateless->env.loop, BACKLOG_TICK_MS, BACKLOG_TICK_MS,
                                  on_backlog_tick, flush);
}

/* ---- finishing a batch ---- */

static void on_settled(void *ctx, const struct error *err, const struct rows *rows)
{
    struct flush *flush = ctx;

    (void)rows;
    if (err)
        log_warn("stateless.claims_not_settled", "error=%s sqlstate=%s next=%s",
                 log_quote(err->text), err->sqlstate,
                 log_quote("they are delivered again when they run out"));
    if (flush && --flush->settling == 0 && flush->is_ending)
        finish_when_written(flush);
}

/* Finishes, or gives back, the entries whose fate that is; returns how many. */
static size_t settle(struct flush *flush, bool has_failed)
{
    struct buf seqs, ids;
    size_t count = 0;
    const char *params[] = {flush->stateless->env.claimer, NULL, NULL};
    struct stateless_query query = {"finish_messages",
                                    "select switchboard.finish_messages($1, $2, $3)", params,
                                    ARRAY_LEN(params)};

    if (has_failed) {
        query.name = "release_messages";
        query.sql = "select switchboard.release_messages($1, $2, $3)";
    }
    buf_init(&seqs, SIZE_MAX);
    buf_init(&ids, SIZE_MAX);
    pgarray_begin(&seqs);
    pgarray_begin(&ids);
    for (size_t i = 0; i < flush->entry_count; i++) {
        if (flush->entries[i].has_failed != has_failed)
            continue;
        pgarray_add_int(&seqs, flush->entries[i].seq);
        pgarray_add(&ids, flush->entries[i].connection_id);
        count++;
    }
    pgarray_end(&seqs);
    pgarray_end(&ids);
    params[1] = buf_str(&seqs);
    params[2] = buf_str(&ids);
    if (count > 0) {
        flush->settling++;
        stateless_query(flush->stateless, &query, on_settled, flush->done ? flush : NULL);
    }
    buf_done(&seqs);
    buf_done(&ids);
    return count;
}

static void free_entries(struct flush *flush)
{
    for (size_t i = 0; i < flush->entry_count; i++)
        free(flush->entries[i].connection_id);
    free(flush->entries);
    flush->entries = NULL;
    flush->entry_count = 0;
}

static void finish_batch(struct flush *flush)
{
    size_t failed = settle(flush, true);

    (void)settle(flush, false);
    free_entries(flush);
    if (failed > 0 || clock_mono_ms() >= flush->deadline_ms)
        finish_when_written(flush);
    else
        claim(flush);
}

static void on_delivered(void *ctx, enum sender_result result)
{
    struct receiver *receiver = ctx;
    struct flush *flush = receiver->flush;

    switch (result) {
    case SENDER_SENT:
        flush->sent++;
        flush->stateless->env.metrics->messages_out++;
        break;
    case SENDER_GONE:
        stateless_forget(flush->stateless, flush->entries[receiver->entry].connection_id);
        break;
    case SENDER_REFUSED: /* it would not go better for anybody else */
        break;
    case SENDER_FAILED:
        flush->entries[receiver->entry].has_failed = true;
        break;
    }
    free(receiver);
    if (--flush->pending == 0)
        finish_batch(flush);
}

/* ---- a batch ---- */

enum claim_column {
    CLAIM_SEQ,
    CLAIM_KIND,
    CLAIM_CONNECTION,
    CLAIM_ENDPOINT,
    CLAIM_PAYLOAD,
    CLAIM_IS_NEW
};

static void send_row(struct flush *flush, const struct rows *rows, size_t row)
{
    struct receiver *receiver = mem_alloc(sizeof(*receiver));
    const char *payload = rows_text(rows, row, CLAIM_PAYLOAD);
    const char *endpoint = rows_text(rows, row, CLAIM_ENDPOINT);
    const char *kind = rows_text(rows, row, CLAIM_KIND);
    struct sender_message message = {.action = SENDER_POST,
                                     .endpoint = endpoint ? endpoint : "",
                                     .connection_id = rows_text(rows, row, CLAIM_CONNECTION),
                                     .payload = payload ? payload : "",
                                     .payload_len = rows_len(rows, row, CLAIM_PAYLOAD),
                                     .is_new = *rows_text(rows, row, CLAIM_IS_NEW) == 't',
                                     .deadline_ms = flush->deadline_ms};

    if (kind && strcmp(kind, "close") == 0) {
        message.action = SENDER_DELETE;
        message.payload = NULL;
        message.payload_len = 0;
    }
    receiver->flush = flush;
    receiver->entry = flush->entry_count++;
    flush->entries[receiver->entry].seq = rows_int(rows, row, CLAIM_SEQ);
    flush->entries[receiver->entry].connection_id = mem_strdup(message.connection_id);
    flush->pending++;
    sender_send(flush->stateless->env.sender, &message, on_delivered, receiver);
}

static void on_claimed(void *ctx, const struct error *err, const struct rows *rows)
{
    struct flush *flush = ctx;

    if (err)
        log_warn("stateless.claim_failed", "error=%s sqlstate=%s next=%s", log_quote(err->text),
                 err->sqlstate, log_quote("the next one takes what is left"));
    if (err || rows_count(rows) == 0) {
        finish_when_written(flush);
        return;
    }
    flush->entries = mem_alloc(rows_count(rows) * sizeof(*flush->entries));
    for (size_t row = 0; row < rows_count(rows); row++)
        send_row(flush, rows, row);
}

static void claim(struct flush *flush)
{
    int64_t lease_ms = flush->deadline_ms - clock_mono_ms() + CLAIM_MARGIN_MS;
    char most[16], lease[24];
    const char *params[] = {flush->stateless->env.claimer, most, lease};
    const struct stateless_query query = {
        "claim_messages",
        "select seq, kind, connection_id, endpoint, payload, is_new"
        " from switchboard.claim_messages($1, $2, $3)",
        params, ARRAY_LEN(params)};

    snprintf(most, sizeof(most), "%d", CLAIM_MESSAGES);
    snprintf(lease, sizeof(lease), "%lld", (long long)lease_ms);
    stateless_query(flush->stateless, &query, on_claimed, flush);
}

/* ---- what a client missed ---- */

enum { RESUME_ROWS = 10000, RESUME_LEASE_MS = 10000 };

struct resuming {
    struct stateless *stateless;
    struct connection *connection;
    void (*done)(void *ctx);
    void *ctx;
};

/* Whoever asks for what it missed asks again when it does not get it: so it counts as delivered
 * once it is queued. */
static void finish_replayed(const struct resuming *resuming, const struct rows *rows)
{
    struct flush batch = {.stateless = resuming->stateless, .entry_count = rows_count(rows)};

    batch.entries = mem_alloc((batch.entry_count + 1) * sizeof(*batch.entries));
    for (size_t row = 0; row < batch.entry_count; row++) {
        batch.entries[row].seq = rows_int(rows, row, 0);
        batch.entries[row].connection_id = mem_strdup(resuming->connection->id);
    }
    (void)settle(&batch, false);
    free_entries(&batch);
}

static void on_replayed(void *ctx, const struct error *err, const struct rows *rows)
{
    struct resuming *resuming = ctx;
    struct metrics *metrics = resuming->stateless->env.metrics;

    if (err)
        log_warn("stateless.resume_failed", "error=%s sqlstate=%s", log_quote(err->text),
                 err->sqlstate);
    for (size_t row = 0; !err && row < rows_count(rows); row++) {
        if (connection_send(resuming->connection, rows_text(rows, row, 1),
                            rows_len(rows, row, 1)) != OK)
            break;
        metrics->messages_replayed++;
    }
    if (!err)
        finish_replayed(resuming, rows);
    resuming->done(resuming->ctx);
    free(resuming);
}

void stateless_resume(struct stateless *stateless, struct connection *connection,
                      const char *payload, void (*done)(void *ctx), void *ctx)
{
    struct resuming *resuming = mem_alloc(sizeof(*resuming));
    char most[16], lease[16];
    const char *params[] = {connection->id, payload, most, stateless->env.claimer, lease};
    const struct stateless_query query = {
        "read_resume",
        "select seq, payload from switchboard.read_resume($1, $2::jsonb -> 'topics', $3, $4, $5)",
        params, ARRAY_LEN(params)};

    snprintf(most, sizeof(most), "%d", RESUME_ROWS);
    snprintf(lease, sizeof(lease), "%d", RESUME_LEASE_MS);
    *resuming = (struct resuming){stateless, connection, done, ctx};
    stateless_query(stateless, &query, on_replayed, resuming);
}

/* ---- connections that were just opened ---- */

static void on_greeting_sent(void *ctx)
{
    struct flush *flush = ctx;

    if (--flush->pending == 0 && flush->is_first_over)
        claim(flush);
}

/* One that was opened, while its frames leave. */
struct greeting {
    struct flush *flush;
    struct opened *opened;
};

static void send_greeting(struct flush *flush, struct opened *opened)
{
    flush->pending += stateless_send_frames(flush->stateless, opened->connection, opened->endpoint,
                                            flush->deadline_ms, on_greeting_sent, flush);
    opened_free(opened);
}

static void on_missed(void *ctx)
{
    struct greeting *greeting = ctx;
    struct flush *flush = greeting->flush;

    send_greeting(flush, greeting->opened);
    free(greeting);
    on_greeting_sent(flush);
}

static void send_greetings(struct flush *flush)
{
    struct stateless *stateless = flush->stateless;

    while (stateless->opened) {
        struct opened *opened = stateless->opened;
        struct greeting *greeting;

        stateless->opened = opened->next;
        if (!opened->resume) {
            send_greeting(flush, opened);
            continue;
        }
        greeting = mem_alloc(sizeof(*greeting));
        *greeting = (struct greeting){flush, opened};
        flush->pending++;
        stateless_resume(stateless, opened->connection, opened->resume, on_missed, greeting);
    }
}

void stateless_flush(struct stateless *stateless, int64_t deadline_ms, stateless_flushed *done,
                     void *ctx)
{
    struct flush *flush;

    if (stateless->is_closing) { /* whoever comes next claims what is left */
        done(ctx, 0);
        return;
    }
    flush = mem_alloc(sizeof(*flush));
    flush->stateless = stateless;
    flush->deadline_ms = deadline_ms;
    flush->done = done;
    flush->ctx = ctx;
    send_greetings(flush);
    flush->is_first_over = true;
    if (flush->pending == 0)
        claim(flush);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - states of a replay, changed by set_state only:
 *
 *   EXPECTED --grant--> QUEUED <--> READING --> gone: the connection is live
 *                          ^           |
 *                          +- PAUSED <-+   the client has to read, the database to come back, or
 *                                          the follower to catch up
 */
#include "replay.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "connections.h"
#include "expiry.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "store.h"

enum {
    PAGE_ROWS = 500,
    TICK_MS = 20,   /* how often a paused one is looked at */
    RETRY_MS = 250, /* after an error of the database */
    MAX_ERRORS = 5  /* in a row, those aside that mean it is away */
};

enum replay_state {
    REPLAY_EXPECTED, /* the route has not answered */
    REPLAY_QUEUED,   /* for its turn to read */
    REPLAY_READING,  /* a page is on its way */
    REPLAY_PAUSED,
    REPLAY_ENDED /* the connection is closing */
};

struct replay_topic {
    struct replay_topic *next;
    int64_t after; /* what is up to here, the client has */
    char name[];
};

struct replay {
    struct replays *replays;
    struct connection *connection; /* NULL: it has ended while a page was on its way */
    enum replay_state state;
    struct replay_topic *topics;
    uint32_t changes;     /* of topics */
    uint32_t asked_after; /* how many of them the page on its way knows */
    int64_t asked_upto;
    bool is_final_possible; /* the page on its way was asked for as a member of every topic */
    struct buf held;        /* frames that came behind asked_upto, to be sent behind the page */
    size_t held_count;
    int errors;
    int64_t not_before_ms;
    struct replay *next; /* while QUEUED */
    struct expiry pause; /* while PAUSED */
};

struct replays {
    struct replays_env env;
    int64_t cursor;
    struct replay *first; /* the queue */
    struct replay **last;
    size_t reading;
    struct expiry_queue paused;
};

/* ---- states ---- */

static void read_queued(struct replays *replays);

static void unqueue(struct replay *replay)
{
    struct replays *replays = replay->replays;
    struct replay **link = &replays->first;

    while (*link != replay)
        link = &(*link)->next;
    *link = replay->next;
    if (!*link)
        replays->last = link;
    replay->next = NULL;
}

static void set_state(struct replay *replay, enum replay_state state)
{
    struct replays *replays = replay->replays;

    if (replay->state == REPLAY_QUEUED)
        unqueue(replay);
    else if (replay->state == REPLAY_PAUSED)
        expiry_remove(&replay->pause);
    else if (replay->state == REPLAY_READING)
        replays->reading--;
    replay->state = state;
    if (state == REPLAY_QUEUED) {
        *replays->last = replay;
        replays->last = &replay->next;
    } else if (state == REPLAY_PAUSED) {
        expiry_add(&replays->paused, &replay->pause);
    } else if (state == REPLAY_READING) {
        replays->reading++;
    }
}

static void pause_for(struct replay *replay, int64_t time_ms)
{
    replay->not_before_ms = loop_now_ms(replay->replays->env.loop) + time_ms;
    set_state(replay, REPLAY_PAUSED);
}

static void free_replay(struct replay *replay)
{
    while (replay->topics) {
        struct replay_topic *topic = replay->topics;

        replay->topics = topic->next;
        free(topic);
    }
    buf_done(&replay->held);
    free(replay);
}

/* While a page is on its way its answer still needs the struct. */
static void end_replay(struct replay *replay)
{
    replay->connection->replay = NULL;
    replay->connection = NULL;
    if (replay->state == REPLAY_READING)
        return;
    set_state(replay, REPLAY_ENDED);
    free_replay(replay);
}

/* ---- topics ---- */

static struct replay_topic **find_topic(struct replay *replay, const char *name)
{
    struct replay_topic **link = &replay->topics;

    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static void set_topic(struct replay *replay, const char *name, int64_t after)
{
    struct replay_topic **link = find_topic(replay, name);
    size_t len = strlen(name);

    if (!*link) {
        *link = mem_alloc(sizeof(**link) + len + 1);
        memcpy((*link)->name, name, len + 1);
    }
    (*link)->after = after;
    replay->changes++;
}

static void remove_topic(struct replay *replay, struct replay_topic **link)
{
    struct replay_topic *topic = *link;

    *link = topic->next;
    free(topic);
    replay->changes++;
}

static void advance_topics(struct replay *replay, int64_t seq)
{
    for (struct replay_topic *topic = replay->topics; topic; topic = topic->next)
        if (topic->after < seq)
            topic->after = seq;
}

/* Live from here on would be right: the follower delivers every topic to this connection, and it
 * has delivered whatever the client says that it has (a client may come from a node that is ahead).
 */
static bool is_ready_for_live(const struct replay *replay)
{
    for (const struct replay_topic *topic = replay->topics; topic; topic = topic->next)
        if (topic->after > replay->replays->cursor ||
            !connection_is_subscribed(replay->connection, topic->name))
            return false;
    return true;
}

/* ---- a page ---- */

/* PAGE_FOUND: how many rows the log had for this page, those aside that made it too large. */
enum page_column { PAGE_SEQ, PAGE_PAYLOAD, PAGE_FOUND };

static bool is_closing(const struct connection *connection)
{
    return connection->has_close || connection->state >= CONNECTION_CLOSING;
}

static bool is_output_low(const struct connection *connection)
{
    return connection_unsent(connection) <= connection->out.limit / 4;
}

static void send_row(struct replay *replay, const struct rows *rows, size_t row)
{
    struct connection *connection = replay->connection;
    struct metrics *metrics = replay->replays->env.metrics;
    struct buf frame;

    buf_init(&frame, SIZE_MAX); /* the payload is one PostgreSQL field: bounded already */
    frame_write_seq(&frame, rows_int(rows, row, PAGE_SEQ), rows_text(rows, row, PAGE_PAYLOAD),
                    rows_len(rows, row, PAGE_PAYLOAD));
    if (connection_send_frame(connection, frame.data, frame.len) == OK) {
        metrics->messages_out++;
        metrics->messages_replayed++;
    }
    buf_done(&frame);
}

/* True: it was the last up to asked_upto. */
static bool send_page(struct replay *replay, const struct rows *rows)
{
    size_t count = rows_count(rows);
    bool is_last =
        count == 0 || (count < PAGE_ROWS && rows_int(rows, 0, PAGE_FOUND) == (int64_t)count);

    for (size_t row = 0; row < count; row++)
        send_row(replay, rows, row);
    advance_topics(replay, is_last ? replay->asked_upto : rows_int(rows, count - 1, PAGE_SEQ));
    return is_last;
}

static void go_live(struct replay *replay)
{
    struct connection *connection = replay->connection;

    if (replay->held.len > 0 &&
        connection_send_frame(connection, replay->held.data, replay->held.len) == OK)
        replay->replays->env.metrics->messages_out += replay->held_count;
    connection->last_activity_ms = clock_unix_ms();
    connection->last_seen_mono_ms = clock_mono_ms();
    log_debug("replay.done", "connection=%s seq=%lld", connection_tag(connection),
              (long long)replay->replays->cursor);
    end_replay(replay);
}

static void apply_page(struct replay *replay, const struct rows *rows)
{
    bool is_stale = replay->asked_after != replay->changes;
    bool is_last = !is_stale && send_page(replay, rows);

    replay->errors = 0;
    set_state(replay, REPLAY_ENDED);
    if (is_closing(replay->connection))
        return; /* replay_stop comes */
    if (is_last && replay->is_final_possible && !buf_full(&replay->held))
        go_live(replay);
    else if (is_output_low(replay->connection) && !is_last)
        set_state(replay, REPLAY_QUEUED);
    else
        pause_for(replay, 0);
}

/* The client must not take a gap for the end: what cannot be read ends the connection, and it asks
 * again when it comes back. */
static void on_page_failed(struct replay *replay, const struct error *err)
{
    if (err->status != UNAVAILABLE) {
        replay->replays->env.metrics->database_errors++;
        log_error("replay.failed", "connection=%s sqlstate=%s error=%s",
                  connection_tag(replay->connection), err->sqlstate, log_quote(err->text));
    }
    if (err->status != UNAVAILABLE && ++replay->errors == MAX_ERRORS) {
        set_state(replay, REPLAY_ENDED);
        connection_close(replay->connection, 1011, "Messages could not be replayed");
        return;
    }
    pause_for(replay, RETRY_MS);
}

static void on_page(void *ctx, const struct error *err, const struct rows *rows)
{
    struct replay *replay = ctx;
    struct replays *replays = replay->replays;

    if (!replay->connection) {
        set_state(replay, REPLAY_ENDED);
        free_replay(replay);
    } else if (err) {
        on_page_failed(replay, err);
    } else {
        apply_page(replay, rows);
    }
    read_queued(replays);
}

/* In bytes too: the client's output queue has to take a page.  A row that is larger comes alone. */
static void call_page(struct replay *replay, const char *topics)
{
    char upto[24], max_rows[16], max_bytes[24];
    const char *params[] = {replay->connection->id, topics, upto, max_rows, max_bytes};
    struct store_query query = {
        .lane = STORE_EVENT,
        .slot = STORE_ANY_SLOT,
        .name = "read_topics",
        .sql = "select p.seq, p.payload, p.found"
               "  from (select r.seq, r.payload, count(*) over () as found,"
               "               sum(octet_length(r.payload) + 40) over (order by r.seq) as bytes,"
               "               row_number() over (order by r.seq) as number"
               "          from switchboard.read_topics($1, $2::jsonb, 0, $3::bigint, $4::integer)"
               "               as r) as p"
               " where p.bytes <= $5::bigint"
               "    or p.number = 1"
               " order by p.seq",
        .params = params,
        .param_count = ARRAY_LEN(params),
    };

    snprintf(upto, sizeof(upto), "%lld", (long long)replay->asked_upto);
    snprintf(max_rows, sizeof(max_rows), "%d", PAGE_ROWS);
    snprintf(max_bytes, sizeof(max_bytes), "%zu", replay->connection->out.limit / 4);
    store_call(replay->replays->env.store, &query, on_page, replay);
}

static void ask_page(struct replay *replay)
{
    struct buf topics;

    set_state(replay, REPLAY_READING);
    replay->asked_upto = replay->replays->cursor;
    replay->asked_after = replay->changes;
    replay->is_final_possible = is_ready_for_live(replay);
    buf_clear(&replay->held);
    replay->held_count = 0;
    buf_init(&topics, SIZE_MAX); /* bounded by what the client could send */
    json_open(&topics, NULL, '{');
    for (const struct replay_topic *topic = replay->topics; topic; topic = topic->next)
        json_int(&topics, topic->name, topic->after);
    json_close(&topics, '}');
    call_page(replay, buf_str(&topics));
    buf_done(&topics);
}

/* Half of the database's connections at most: messages go first. */
static void read_queued(struct replays *replays)
{
    size_t most = ((size_t)replays->env.config->database_pool_size + 1) / 2;

    while (replays->first && replays->reading < most) {
        struct replay *replay = replays->first;

        if (store_is_up(replays->env.store, STORE_EVENT))
            ask_page(replay);
        else
            pause_for(replay, RETRY_MS);
    }
}

static void on_pause_over(void *ctx, struct expiry *expiry)
{
    struct replay *replay = CONTAINER_OF(expiry, struct replay, pause);
    struct replays *replays = ctx;
    bool is_due = loop_now_ms(replays->env.loop) >= replay->not_before_ms &&
                  is_output_low(replay->connection) && is_ready_for_live(replay);

    if (!is_due) {
        expiry_add(&replays->paused, expiry);
        return;
    }
    set_state(replay, REPLAY_QUEUED);
    read_queued(replays);
}

/* ---- called from outside ---- */

void replays_set_cursor(struct replays *replays, int64_t seq)
{
    replays->cursor = seq;
}

static struct replay *get_replay(struct replays *replays, struct connection *connection)
{
    struct replay *replay = connection->replay;

    if (replay)
        return replay;
    replay = mem_alloc(sizeof(*replay));
    replay->replays = replays;
    replay->connection = connection;
    replay->state = REPLAY_EXPECTED;
    buf_init(&replay->held, connection->out.limit / 4);
    connection->replay = replay;
    return replay;
}

static bool is_topics(const struct json *topics)
{
    if (!topics || json_type(topics) != JSON_OBJECT)
        return false;
    for (const struct json *it = json_first(topics); it; it = json_next(it))
        if (json_type(it) != JSON_NUMBER)
            return false;
    return true;
}

static void set_topics(struct replay *replay, const struct json *topics)
{
    for (const struct json *it = json_first(topics); it; it = json_next(it)) {
        double seq = json_number(it);

        set_topic(replay, json_key(it), seq > 0 && seq < 9e18 ? (int64_t)seq : 0);
    }
}

bool replay_expect(struct replays *replays, struct connection *connection,
                   const struct json *topics)
{
    if (!is_topics(topics))
        return false;
    connection->wants_seq = true;
    if (json_first(topics))
        set_topics(get_replay(replays, connection), topics);
    return true;
}

void replay_settle(struct connection *connection)
{
    if (connection->replay && connection->replay->state == REPLAY_EXPECTED)
        end_replay(connection->replay);
}

static void begin(struct replays *replays, struct connection *connection, const struct json *topics)
{
    struct replay *replay;

    replay_settle(connection);
    connection->wants_seq = true;
    log_debug("replay.start", "connection=%s topics=%zu", connection_tag(connection),
              json_len(topics));
    if (!json_first(topics))
        return;
    replay = get_replay(replays, connection);
    set_topics(replay, topics);
    if (replay->state != REPLAY_EXPECTED)
        return; /* it goes on with them */
    if (is_ready_for_live(replay))
        set_state(replay, REPLAY_QUEUED);
    else
        pause_for(replay, 0);
    read_queued(replays);
}

enum status replay_start(struct replays *replays, struct connection *connection,
                         const char *payload, size_t len, struct error *err)
{
    struct json *json = NULL;
    enum status st = json_parse(payload, len, &json, err);
    const struct json *topics =
        st == OK && json_type(json) == JSON_OBJECT ? json_get(json, "topics") : NULL;

    if (st == OK && !is_topics(topics))
        st = fail(err, INVALID, "\"topics\" is not an object of numbers");
    if (st == OK && !is_closing(connection))
        begin(replays, connection, topics);
    json_free(json);
    return st;
}

bool replay_holds(struct connection *connection, const char *topic, int64_t seq, const char *frame,
                  size_t len)
{
    struct replay *replay = connection->replay;
    const struct replay_topic *found = replay ? *find_topic(replay, topic) : NULL;

    if (!found)
        return false;
    if (replay->state == REPLAY_READING && seq > found->after && seq > replay->asked_upto) {
        buf_add(&replay->held, frame, len);
        replay->held_count++;
    }
    return true;
}

void replay_leave(struct connection *connection, const char *topic)
{
    struct replay *replay = connection->replay;
    struct replay_topic **link = replay ? find_topic(replay, topic) : NULL;

    if (!link || !*link)
        return;
    remove_topic(replay, link);
    if (!replay->topics)
        end_replay(replay);
}

void replay_stop(struct connection *connection)
{
    if (connection->replay)
        end_replay(connection->replay);
}

/* ---- life ---- */

struct replays *replays_create(const struct replays_env *env)
{
    struct replays *replays = mem_alloc(sizeof(*replays));

    replays->env = *env;
    replays->last = &replays->first;
    expiry_init(&replays->paused, env->loop, TICK_MS, on_pause_over, replays);
    return replays;
}

void replays_free(struct replays *replays)
{
    for (struct connection *c = connections_first(replays->env.connections); c;
         c = connections_next(c))
        replay_stop(c);
    assert(replays->reading == 0 && !replays->first);
    expiry_done(&replays->paused);
    free(replays);
}

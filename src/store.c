/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "database_auth.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 1000,
    SLOW_CALL_MS = 100, /* a slot whose oldest call is older is avoided */
    SLOT_BUSY = 1000000 /* what such a slot counts as, in calls in flight */
};

/* One connection and its coming back. */
struct slot {
    struct store *store;
    enum store_lane lane;
    struct pg *pg;
    bool is_up;
    bool is_waiting;       /* for a login; pg is NULL */
    int64_t login_version; /* that pg was started with */
    bool is_urgent;        /* somebody waits for it: the next try is at once */
    int64_t backoff_ms;
    struct timer *retry;
};

/* A call on a lane that is down: answered at the end of the turn. */
struct refused {
    struct deferred deferred;
    pg_done *done;
    void *ctx;
};

struct store {
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct store_events events;
    void *ctx;
    size_t slot_count; /* CONTROL, FOLLOWER, then the EVENT slots */
    struct slot *slots;
    size_t events_up;
    bool is_single;      /* one slot, which is every lane */
    int64_t deadline_ms; /* of its statements; 0: none but integration_timeout_ms */
    struct database_auth *auth;
    unsigned int outages_logged; /* bits: 1 << enum outage */
    bool is_stopping;
};

enum {
    FIRST_EVENT_SLOT = 2,
    CALL_SQL_BYTES = 320,
    LEAST_TIMEOUT_MS = 200 /* what was sent is written down even at the end */
};

static void connect_slot(struct slot *slot);

/* ---- up and down ---- */

/* One line for each kind until all is well again. */
enum outage { OUTAGE_AWAY, OUTAGE_REFUSED, OUTAGE_NO_LOGIN };

static bool is_first(struct store *store, enum outage outage)
{
    unsigned int bit = 1U << outage;

    if (store->is_stopping || (store->outages_logged & bit))
        return false;
    store->outages_logged |= bit;
    return true;
}

static void log_outage(struct store *store, const struct error *err)
{
    const char *cause = database_auth_cause(store->config, err);

    if (!cause && is_first(store, OUTAGE_AWAY))
        log_warn("database.away", "error=%s sqlstate=%s next=retrying", log_quote(err->text),
                 log_quote(err->sqlstate));
    else if (cause && is_first(store, OUTAGE_REFUSED))
        log_error("database.refused", "error=%s sqlstate=%s cause=%s next=retrying",
                  log_quote(err->text), err->sqlstate, log_quote(cause));
}

static void log_no_login(struct store *store, const struct error *err)
{
    if (is_first(store, OUTAGE_NO_LOGIN))
        log_error("database.no_login", "error=%s next=retrying", log_quote(err->text));
}

static void log_recovery(struct store *store)
{
    for (size_t i = 0; i < store->slot_count; i++)
        if (!store->slots[i].is_up)
            return;
    log_info("database.connected", "connections=%zu", store->slot_count);
    store->outages_logged = 0;
}

static void tell_all_lanes(struct store *store, bool is_up)
{
    store->events_up = is_up ? 1 : 0;
    if (store->is_stopping)
        return;
    store->events.on_lane(store->ctx, STORE_CONTROL, is_up);
    store->events.on_lane(store->ctx, STORE_FOLLOWER, is_up);
    store->events.on_lane(store->ctx, STORE_EVENT, is_up);
}

static void tell(struct slot *slot, bool is_up)
{
    struct store *store = slot->store;
    bool is_news = true;

    slot->is_up = is_up;
    if (is_up)
        store->metrics->database_connected++;
    else
        store->metrics->database_connected--;
    if (store->is_single) {
        tell_all_lanes(store, is_up);
        return;
    }
    if (slot->lane == STORE_EVENT) {
        store->events_up += is_up ? 1 : (size_t)-1;
        is_news = is_up ? store->events_up == 1 : store->events_up == 0;
    }
    if (is_news && !store->is_stopping)
        store->events.on_lane(store->ctx, slot->lane, is_up);
}

static void on_retry(void *ctx)
{
    connect_slot(ctx);
}

/* Decorrelated jitter: many nodes that lost one database must not come back in step. */
static void retry_later(struct slot *slot)
{
    uint32_t random;
    int64_t span = slot->backoff_ms * 3 - BACKOFF_MIN_MS;
    int64_t delay_ms;

    if (slot->store->is_stopping)
        return;
    random_bytes(&random, sizeof(random));
    slot->backoff_ms = BACKOFF_MIN_MS + (int64_t)random % (span > 0 ? span : 1);
    if (slot->backoff_ms > BACKOFF_MAX_MS)
        slot->backoff_ms = BACKOFF_MAX_MS;
    delay_ms = slot->is_urgent ? 0 : slot->backoff_ms;
    slot->is_urgent = false;
    if (slot->retry)
        loop_timer_set(slot->retry, delay_ms, 0);
    else
        slot->retry = loop_timer(slot->store->loop, delay_ms, 0, on_retry, slot);
}

static void let_go(struct slot *slot)
{
    struct pg *pg = slot->pg;

    slot->pg = NULL;
    pg_close(pg);
    if (slot->is_up)
        tell(slot, false);
}

static void drop(struct slot *slot, const struct error *err)
{
    log_outage(slot->store, err);
    let_go(slot);
    retry_later(slot);
}

/* The password may have been rotated since it was fetched. */
static bool is_login_renewed(struct slot *slot, const struct error *err)
{
    return strcmp(err->sqlstate, "28P01") == 0 &&
           database_auth_refused(slot->store->auth, slot->login_version);
}

static void on_connect(void *ctx, const struct error *err)
{
    struct slot *slot = ctx;

    if (err && is_login_renewed(slot, err)) {
        log_debug("database.login_renewed", "sqlstate=%s", err->sqlstate);
        let_go(slot);
        connect_slot(slot);
        return;
    }
    if (err) {
        drop(slot, err);
        return;
    }
    database_auth_accepted(slot->store->auth);
    slot->backoff_ms = BACKOFF_MIN_MS;
    tell(slot, true);
    log_recovery(slot->store);
}

static void on_lost(void *ctx, const struct error *err)
{
    struct slot *slot = ctx;

    slot->store->metrics->database_reconnects++;
    drop(slot, err);
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
    struct slot *slot = ctx;

    slot->store->events.on_notify(slot->store->ctx, channel, payload);
}

/* For one call.  What the session settings of pg.c say, for as long as that is. */
static void write_call_sql(const struct store *store, char out[CALL_SQL_BYTES])
{
    const struct config *config = store->config;
    int64_t timeout_ms = config->integration_timeout_ms;
    int64_t left_ms = store->deadline_ms - clock_mono_ms();

    if (store->deadline_ms && left_ms < timeout_ms)
        timeout_ms = left_ms > LEAST_TIMEOUT_MS ? left_ms : LEAST_TIMEOUT_MS;
    snprintf(out, CALL_SQL_BYTES,
             "select set_config('statement_timeout', '%lld', true),"
             " set_config('switchboard.max_deliveries', '%lld', true),"
             " set_config('jit', 'off', true), set_config('datestyle', 'ISO', true)",
             (long long)timeout_ms, (long long)config->max_deliveries);
}

static void start_slot(struct slot *slot, struct pg_options *options)
{
    static const struct pg_events events = {on_connect, on_lost, on_notify};
    const struct config *config = slot->store->config;
    char session_sql[64];
    char call_sql[CALL_SQL_BYTES];

    /* Read by handle_message(). */
    snprintf(session_sql, sizeof(session_sql), "set switchboard.max_deliveries = %lld;",
             (long long)config->max_deliveries);
    write_call_sql(slot->store, call_sql);
    options->session_sql = session_sql;
    if (slot->store->is_single)
        options->call_sql = call_sql;
    else if (slot->lane == STORE_FOLLOWER)
        options->listen = "switchboard";
    slot->login_version = database_auth_version(slot->store->auth);
    slot->pg = pg_start(slot->store->loop, options, &events, slot);
}

static void connect_slot(struct slot *slot)
{
    const struct config *config = slot->store->config;
    struct pg_options options = {
        .url = config->database_url,
        .application_name = "switchboard",
        .connect_timeout_ms = config->database_connect_timeout_ms,
        .statement_timeout_ms = config->integration_timeout_ms,
    };
    struct error err = {0};

    slot->is_waiting = false;
    switch (database_auth_login(slot->store->auth, &options, &err)) {
    case DATABASE_AUTH_READY:
        start_slot(slot, &options);
        break;
    case DATABASE_AUTH_FETCHING:
        slot->is_waiting = true;
        break;
    case DATABASE_AUTH_FAILED:
        log_no_login(slot->store, &err);
        retry_later(slot);
        break;
    }
}

static void on_login(void *ctx, const struct error *err)
{
    struct store *store = ctx;

    if (store->is_stopping)
        return;
    if (err)
        log_no_login(store, err);
    for (size_t i = 0; i < store->slot_count; i++) {
        struct slot *slot = &store->slots[i];

        if (!slot->is_waiting)
            continue;
        if (err) {
            slot->is_waiting = false;
            retry_later(slot);
        } else {
            connect_slot(slot);
        }
    }
}

/* ---- life ---- */

static struct store *create(struct loop *loop, const struct config *config, struct metrics *metrics,
                            const struct store_events *events, void *ctx)
{
    struct store *store = mem_alloc(sizeof(*store));

    store->loop = loop;
    store->config = config;
    store->metrics = metrics;
    store->events = *events;
    store->ctx = ctx;
    store->auth = database_auth_create(config, loop, on_login, store);
    return store;
}

static void open_slots(struct store *store, size_t count)
{
    store->slot_count = count;
    store->slots = mem_alloc(count * sizeof(*store->slots));
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = &store->slots[i];

        slot->store = store;
        slot->lane = i < FIRST_EVENT_SLOT ? (enum store_lane)i : STORE_EVENT;
        slot->backoff_ms = BACKOFF_MIN_MS;
        connect_slot(slot);
    }
}

struct store *store_create(struct loop *loop, const struct config *config, struct metrics *metrics,
                           const struct store_events *events, void *ctx)
{
    struct store *store = create(loop, config, metrics, events, ctx);

    open_slots(store, FIRST_EVENT_SLOT + (size_t)config->database_pool_size);
    return store;
}

struct store *store_create_single(struct loop *loop, const struct config *config,
                                  struct metrics *metrics, const struct store_events *events,
                                  void *ctx)
{
    struct store *store = create(loop, config, metrics, events, ctx);

    store->is_single = true;
    open_slots(store, 1);
    return store;
}

bool store_check(struct store *store)
{
    struct slot *slot = &store->slots[0];

    assert(store->is_single);
    if (!slot->pg && !slot->is_waiting && !store->is_stopping) {
        loop_timer_stop(slot->retry);
        slot->retry = NULL;
        connect_slot(slot);
    }
    slot->is_urgent = slot->pg && !pg_is_alive(slot->pg);
    return slot->is_up && !slot->is_urgent;
}

void store_close(struct store *store)
{
    store->is_stopping = true;
    for (size_t i = 0; i < store->slot_count; i++) {
        struct slot *slot = &store->slots[i];
        struct pg *pg = slot->pg;

        loop_timer_stop(slot->retry);
        slot->retry = NULL;
        slot->is_up = false;
        slot->is_waiting = false;
        slot->pg = NULL;
        pg_close(pg);
    }
    store->events_up = 0;
    store->metrics->database_connected = 0;
}

void store_free(struct store *store)
{
    store_close(store);
    database_auth_free(store->auth);
    free(store->slots);
    free(store);
}

/* ---- calls ---- */

bool store_is_up(const struct store *store, enum store_lane lane)
{
    if (store->is_single || lane == STORE_EVENT)
        return store->events_up > 0;
    return store->slots[lane].is_up;
}

size_t store_slot_count(const struct store *store)
{
    return store->is_single ? 0 : store->slot_count - FIRST_EVENT_SLOT;
}

int store_pick_slot(const struct store *store)
{
    return store_pick_slot_but(store, 0);
}

int store_pick_slot_but(const struct store *store, uint64_t but)
{
    size_t least = SIZE_MAX;
    int picked = -1;

    if (store->is_single)
        return store->slots[0].is_up ? 0 : -1;

    for (size_t i = FIRST_EVENT_SLOT; i < store->slot_count; i++) {
        const struct slot *slot = &store->slots[i];
        size_t load;

        if (!slot->is_up || (but >> (i - FIRST_EVENT_SLOT) & 1))
            continue;
        load = pg_in_flight(slot->pg);
        if (load > 0 && pg_oldest_ms(slot->pg) > SLOW_CALL_MS)
            load += SLOT_BUSY;
        if (load < least) {
            least = load;
            picked = (int)(i - FIRST_EVENT_SLOT);
        }
    }
    return picked;
}

static void answer_refused(void *ctx)
{
    struct refused *refused = ctx;
    struct error err = {0};

    fail(&err, UNAVAILABLE, "the database is away");
    refused->done(refused->ctx, &err, NULL);
    free(refused);
}

static void refuse(struct store *store, pg_done *done, void *ctx)
{
    struct refused *refused = mem_alloc(sizeof(*refused));

    refused->deferred.fn = answer_refused;
    refused->deferred.ctx = refused;
    refused->done = done;
    refused->ctx = ctx;
    loop_at_end_of_turn(store->loop, &refused->deferred);
}

void store_limit(struct store *store, int64_t deadline_ms)
{
    assert(store->is_single);
    store->deadline_ms = deadline_ms;
}

static struct slot *find_slot(struct store *store, enum store_lane lane, int slot)
{
    if (store->is_single)
        return &store->slots[0];
    if (lane != STORE_EVENT)
        return &store->slots[lane];
    if (slot == STORE_ANY_SLOT)
        slot = store_pick_slot(store);
    if (slot < 0)
        return NULL;
    assert((size_t)slot + FIRST_EVENT_SLOT < store->slot_count);
    return &store->slots[FIRST_EVENT_SLOT + slot];
}

void store_call(struct store *store, const struct store_query *query, pg_done *done, void *ctx)
{
    struct slot *slot = find_slot(store, query->lane, query->slot);
    char call_sql[CALL_SQL_BYTES];

    if (slot && slot->is_up && store->is_single) {
        write_call_sql(store, call_sql);
        pg_set_call_sql(slot->pg, call_sql);
    }
    if (slot && slot->is_up)
        pg_call(slot->pg, query->name, query->sql, query->params, query->param_count, done, ctx);
    else
        refuse(store, done, ctx);
}

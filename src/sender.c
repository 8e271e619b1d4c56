/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender.c - queues of messages, one per connection, and the tries to send their first ones.
 *
 * A queue exists while it has messages.  It is READY in a list of those that wait for their turn,
 * OPEN while a request is under way, or PAUSED between two tries; set_state is the only one that
 * moves it.  Turns go round: after a message the queue is the last one again, so that a connection
 * with a thousand of them holds nobody up.  A pause takes no turn.
 *
 * Nothing is answered from sender_send: what is ready starts at the end of the turn.  done is the
 * last thing that happens in whatever calls it, because it may send.
 */
#include "sender_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"

enum {
    FIRST_SLOTS = 64,
    URL_BYTES = 8192,
    ANSWER_BYTES = 16384,
    PAUSE_MS = 50, /* at least */
    PAUSE_MOST_MS = 2000,
    PAUSE_GROWTH = 3,
    SECOND_MS = 1000,
    MOST_HEADERS = 4,
    NEW_MS = 3000 /* for a gateway to open a connection */
};

#define NO_PLACE SIZE_MAX

struct item {
    struct item *next;
    struct item **link;
    struct queue *queue;
    size_t place; /* among the deadlines; NO_PLACE: it ends by itself */
    int64_t deadline_ms;
    int64_t new_until_ms; /* 0: it is known */
    sender_done *done;
    void *ctx;
    enum sender_action action;
    bool is_signed_again; /* because of the clock */
    size_t payload_len;
    char payload[];
};

enum queue_state { QUEUE_NEW, QUEUE_READY, QUEUE_OPEN, QUEUE_PAUSED };

/* What goes to one connection at one endpoint. */
struct queue {
    struct sender *sender;
    struct queue *next; /* in its slot */
    struct queue *ready_next;
    struct queue **ready_link;
    uint64_t hash;
    enum queue_state state;
    struct item *first; /* the one that is tried */
    struct item **last; /* where the next one is linked */
    struct http_call *call;
    struct timer *timer;             /* of the pause */
    int64_t pause_ms;                /* the last one; 0: the last try went well */
    const char *host;                /* behind the URL; NULL: this is no URL */
    const char *path;                /* in url */
    char region[SIGV4_REGION_BYTES]; /* "": aws_region */
    char url[];
};

/* Those of all messages: a heap, the next one first.  There is one timer, because one for each
 * message costs as much as all that is done about its deadline. */
struct deadlines {
    struct item **items;
    size_t count;
    size_t room;
    struct timer *timer; /* NULL: not needed yet */
    int64_t rings_ms;    /* in vain perhaps; INT64_MAX: not at all */
};

struct sender {
    struct sender_env env;
    struct sigv4_credentials credentials;
    struct sigv4_signer *signer; /* NULL: requests are not signed */
    bool is_ending;
    struct queue **slots; /* a power of two of them */
    size_t slot_count;
    size_t queue_count;
    struct queue *ready;
    struct queue **ready_last;
    size_t open_count;
    struct deferred pump;
    struct deadlines deadlines;
    int64_t skew_s; /* the servers' clock is ahead of ours by this */
    struct sender_notes notes;
    struct sender_base base; /* of the last message */
    struct buf url;
};

/* ---- queues ---- */

/* FNV-1a, stirred at the end. */
static uint64_t hash_url(const char *url)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *url; url++)
        hash = (hash ^ (unsigned char)*url) * 0x100000001b3u;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

static struct queue **slot_of(const struct sender *sender, uint64_t hash)
{
    return &sender->slots[hash & (sender->slot_count - 1)];
}

static void add_to_slot(struct sender *sender, struct queue *queue)
{
    struct queue **slot = slot_of(sender, queue->hash);

    queue->next = *slot;
    *slot = queue;
}

static void grow(struct sender *sender)
{
    struct queue **old = sender->slots;
    size_t old_count = sender->slot_count;
    struct queue *next;

    sender->slot_count *= 2;
    sender->slots = mem_alloc(sender->slot_count * sizeof(*sender->slots));
    for (size_t i = 0; i < old_count; i++) {
        for (struct queue *queue = old[i]; queue; queue = next) {
            next = queue->next;
            add_to_slot(sender, queue);
        }
    }
    free(old);
}

/* The URL is in sender->url. */
static struct queue *create_queue(struct sender *sender, struct sender_url url, uint64_t hash)
{
    size_t len = sender->url.len;
    size_t host_len = url.path - url.host;
    struct queue *queue = mem_alloc(sizeof(*queue) + len + 1 + host_len + 1);
    char *host = queue->url + len + 1;

    queue->sender = sender;
    queue->hash = hash;
    queue->last = &queue->first;
    memcpy(queue->url, buf_str(&sender->url), len + 1);
    if (url.path) {
        memcpy(host, queue->url + url.host, host_len);
        queue->host = host;
        queue->path = queue->url + url.path;
        memcpy(queue->region, sender->base.region, sizeof(queue->region));
    }
    if (sender->queue_count++ >= sender->slot_count)
        grow(sender);
    add_to_slot(sender, queue);
    return queue;
}

static struct queue *find_queue(struct sender *sender, const struct sender_message *message)
{
    struct sender_url url;
    const char *text;
    uint64_t hash;

    sender_base_set(&sender->base, message->endpoint);
    url = sender_url_write(&sender->url, &sender->base, message->connection_id);
    text = buf_str(&sender->url);
    hash = hash_url(text);
    for (struct queue *queue = *slot_of(sender, hash); queue; queue = queue->next) {
        if (queue->hash == hash && strcmp(queue->url, text) == 0)
            return queue;
    }
    return create_queue(sender, url, hash);
}

static void on_paused(void *ctx);

/* pause_ms is for QUEUE_PAUSED. */
static void set_state(struct queue *queue, enum queue_state state, int64_t pause_ms)
{
    struct sender *sender = queue->sender;

    if (queue->state == QUEUE_READY) {
        *queue->ready_link = queue->ready_next;
        if (queue->ready_next)
            queue->ready_next->ready_link = queue->ready_link;
        else
            sender->ready_last = queue->ready_link;
    } else if (queue->state == QUEUE_OPEN) {
        sender->open_count--;
        queue->call = NULL;
    }
    loop_timer_stop(queue->timer);
    queue->timer = NULL;
    queue->state = state;
    if (state == QUEUE_READY) {
        queue->ready_next = NULL;
        queue->ready_link = sender->ready_last;
        *sender->ready_last = queue;
        sender->ready_last = &queue->ready_next;
    } else if (state == QUEUE_OPEN) {
        sender->open_count++;
    } else if (state == QUEUE_PAUSED) {
        queue->timer = loop_timer(sender->env.loop, pause_ms, 0, on_paused, queue);
    }
    if (sender->ready && !sender->is_ending)
        loop_at_end_of_turn(sender->env.loop, &sender->pump);
}

static void on_paused(void *ctx)
{
    set_state(ctx, QUEUE_READY, 0);
}

/* It has no messages any more. */
static void free_queue(struct queue *queue)
{
    struct sender *sender = queue->sender;
    struct queue **link = slot_of(sender, queue->hash);

    while (*link != queue)
        link = &(*link)->next;
    *link = queue->next;
    sender->queue_count--;
    set_state(queue, QUEUE_NEW, 0);
    free(queue);
}

/* Into that state if there is anything left to do. */
static void go_on(struct queue *queue, enum queue_state state, int64_t pause_ms)
{
    if (queue->first)
        set_state(queue, state, pause_ms);
    else
        free_queue(queue);
}

/* ---- deadlines ---- */

static void put(struct deadlines *deadlines, size_t place, struct item *item)
{
    deadlines->items[place] = item;
    item->place = place;
}

/* Towards the front, from a place that is free. */
static void move_up(struct deadlines *deadlines, size_t place, struct item *item)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;

        if (deadlines->items[parent]->deadline_ms <= item->deadline_ms)
            break;
        put(deadlines, place, deadlines->items[parent]);
        place = parent;
    }
    put(deadlines, place, item);
}

/* Of the two behind it, the one that comes first; none: count and more. */
static size_t next_place(const struct deadlines *deadlines, size_t place)
{
    size_t next = 2 * place + 1;

    if (next + 1 < deadlines->count &&
        deadlines->items[next + 1]->deadline_ms < deadlines->items[next]->deadline_ms)
        next++;
    return next;
}

static void remove_deadline(struct deadlines *deadlines, struct item *item)
{
    size_t place = item->place;
    struct item *last;

    if (place == NO_PLACE)
        return;
    item->place = NO_PLACE;
    last = deadlines->items[--deadlines->count];
    if (last == item)
        return;
    /* The last one comes in its place, or behind those that come first from there on. */
    for (size_t next = next_place(deadlines, place);
         next < deadlines->count && deadlines->items[next]->deadline_ms < last->deadline_ms;
         next = next_place(deadlines, place)) {
        put(deadlines, place, deadlines->items[next]);
        place = next;
    }
    move_up(deadlines, place, last);
}

static void on_deadlines(void *ctx);

/* Rings in time for the first one. */
static void set_deadline_timer(struct sender *sender)
{
    struct deadlines *deadlines = &sender->deadlines;
    int64_t left_ms;

    if (deadlines->count == 0 || deadlines->items[0]->deadline_ms >= deadlines->rings_ms)
        return;
    deadlines->rings_ms = deadlines->items[0]->deadline_ms;
    left_ms = deadlines->rings_ms - clock_mono_ms();
    if (left_ms < 0)
        left_ms = 0;
    if (deadlines->timer)
        loop_timer_set(deadlines->timer, left_ms, 0);
    else
        deadlines->timer = loop_timer(sender->env.loop, left_ms, 0, on_deadlines, sender);
}

static void add_deadline(struct sender *sender, struct item *item)
{
    struct deadlines *deadlines = &sender->deadlines;

    if (deadlines->count == deadlines->room) {
        deadlines->room = deadlines->room ? 2 * deadlines->room : FIRST_SLOTS;
        deadlines->items =
            mem_realloc(deadlines->items, deadlines->room * sizeof(*deadlines->items));
    }
    move_up(deadlines, deadlines->count++, item);
    set_deadline_timer(sender);
}

/* ---- messages ---- */

static void unlink_item(struct item *item)
{
    *item->link = item->next;
    if (item->next)
        item->next->link = item->link;
    else
        item->queue->last = item->link;
}

/* It is in no queue any more; its own may be gone. */
static void answer_item(struct sender *sender, struct item *item, enum sender_result result)
{
    struct metrics *metrics = sender->env.metrics;
    sender_done *done = item->done;
    void *ctx = item->ctx;

    metrics->sender_sent += result == SENDER_SENT;
    metrics->sender_gone += result == SENDER_GONE;
    metrics->sender_failed += result == SENDER_REFUSED || result == SENDER_FAILED;
    remove_deadline(&sender->deadlines, item);
    free(item);
    done(ctx, result);
}

/* The first message is answered; the next one is ready. */
static void finish_first(struct queue *queue, enum sender_result result)
{
    struct sender *sender = queue->sender;
    struct item *item = queue->first;

    unlink_item(item);
    go_on(queue, QUEUE_READY, 0);
    answer_item(sender, item, result);
}

/* All of them, with the queue. */
static void finish_all(struct queue *queue, enum sender_result result)
{
    struct sender *sender = queue->sender;
    struct item *item = queue->first;
    struct item *next;

    free_queue(queue);
    for (; item; item = next) {
        next = item->next;
        answer_item(sender, item, result);
    }
}

/* One that is under way ends by itself: its request's time-out is no later. */
static void end_late(struct sender *sender, struct item *item)
{
    struct queue *queue = item->queue;

    remove_deadline(&sender->deadlines, item);
    if (queue->state == QUEUE_OPEN && queue->first == item)
        return;
    sender_note(&sender->notes, TROUBLE_LATE, queue->url, NULL);
    unlink_item(item);
    if (!queue->first)
        free_queue(queue);
    answer_item(sender, item, SENDER_FAILED);
}

/* The loop's clock is that of the turn: it may be early. */
static void on_deadlines(void *ctx)
{
    struct sender *sender = ctx;
    struct deadlines *deadlines = &sender->deadlines;

    while (deadlines->count && deadlines->items[0]->deadline_ms <= clock_mono_ms())
        end_late(sender, deadlines->items[0]);
    deadlines->rings_ms = INT64_MAX;
    set_deadline_timer(sender);
}

void sender_send(struct sender *sender, const struct sender_message *message, sender_done *done,
                 void *ctx)
{
    size_t len = message->action == SENDER_POST ? message->payload_len : 0;
    struct item *item = mem_alloc_raw(sizeof(*item) + len);
    struct queue *queue = find_queue(sender, message);

    assert(!sender->is_ending);
    if (!queue->host) /* one with '@' may have a password */
        sender_note(&sender->notes, TROUBLE_ENDPOINT,
                    strchr(message->endpoint, '@') ? "" : message->endpoint, NULL);
    *item = (struct item){.link = queue->last,
                          .queue = queue,
                          .deadline_ms = message->deadline_ms,
                          .new_until_ms = message->is_new ? clock_mono_ms() + NEW_MS : 0,
                          .done = done,
                          .ctx = ctx,
                          .action = message->action,
                          .payload_len = len};
    if (len)
        memcpy(item->payload, message->payload, len);
    add_deadline(sender, item);
    *queue->last = item;
    queue->last = &item->next;
    if (queue->state == QUEUE_NEW)
        set_state(queue, QUEUE_READY, 0);
}

/* ---- tries ---- */

/* Decorrelated jitter: from the shortest pause to three times the last one. */
static int64_t next_pause(int64_t last_ms)
{
    int64_t most_ms = PAUSE_GROWTH * (last_ms ? last_ms : PAUSE_MS);
    uint32_t random;

    if (most_ms > PAUSE_MOST_MS)
        most_ms = PAUSE_MOST_MS;
    random_bytes(&random, sizeof(random));
    return PAUSE_MS + (int64_t)random % (most_ms - PAUSE_MS + 1);
}

/* After a pause, unless that is past the deadline: then somebody else may try it the sooner.  The
 * messages behind it have the pause in any case. */
static void try_later(struct queue *queue)
{
    struct sender *sender = queue->sender;
    struct item *item = queue->first;
    bool is_late;

    queue->pause_ms = next_pause(queue->pause_ms);
    is_late = clock_mono_ms() + queue->pause_ms >= item->deadline_ms;
    if (is_late)
        unlink_item(item);
    go_on(queue, QUEUE_PAUSED, queue->pause_ms);
    if (is_late)
        answer_item(sender, item, SENDER_FAILED);
}

static void sign_again(struct queue *queue, const struct http_pool_answer *answer)
{
    struct sender *sender = queue->sender;
    struct item *item = queue->first;

    if (!sender->signer || item->is_signed_again) {
        finish_first(queue, SENDER_REFUSED);
        return;
    }
    item->is_signed_again = true;
    sender->skew_s = sender_skew_s(answer, clock_unix_ms() / SECOND_MS);
    set_state(queue, QUEUE_READY, 0);
}

static void on_answer(void *ctx, const struct http_pool_answer *answer)
{
    struct queue *queue = ctx;
    struct sender *sender = queue->sender;
    struct sender_judgement judgement = sender_judge(answer);

    if (judgement.verdict == VERDICT_GONE && clock_mono_ms() < queue->first->new_until_ms)
        judgement.verdict = VERDICT_AGAIN;
    sender->env.metrics->sender_throttled += judgement.trouble == TROUBLE_THROTTLED;
    if (judgement.trouble != TROUBLE_NONE)
        sender_note(&sender->notes, judgement.trouble, queue->url, answer);
    if (judgement.verdict != VERDICT_AGAIN)
        queue->pause_ms = 0;
    switch (judgement.verdict) {
    case VERDICT_SENT:
        finish_first(queue, SENDER_SENT);
        break;
    case VERDICT_GONE:
        finish_all(queue, SENDER_GONE);
        break;
    case VERDICT_REFUSED:
        finish_first(queue, SENDER_REFUSED);
        break;
    case VERDICT_AGAIN:
        try_later(queue);
        break;
    case VERDICT_CLOCK_AGAIN:
        sign_again(queue, answer);
        break;
    }
}

/* False when the credentials do not fit into a header. */
static bool sign(struct queue *queue, const struct http_pool_request *request,
                 struct sigv4_signature *out)
{
    struct sender *sender = queue->sender;
    struct sigv4_header host = {"host", queue->host};
    struct sigv4_request to_sign = {.method = request->method,
                                    .path = queue->path,
                                    .headers = &host,
                                    .header_count = 1,
                                    .body = request->body,
                                    .body_len = request->body_len};

    return sigv4_signer_sign(sender->signer, &to_sign,
                             *queue->region ? queue->region : sender->env.config->aws_region,
                             clock_unix_ms() / SECOND_MS + sender->skew_s, out) == OK;
}

static void open_first(struct queue *queue, int64_t left_ms)
{
    struct sender *sender = queue->sender;
    const struct item *item = queue->first;
    bool is_post = item->action == SENDER_POST;
    int64_t timeout_ms = sender->env.config->sender_timeout_ms;
    struct sigv4_signature signature;
    struct http_pool_header headers[MOST_HEADERS] = {{"Host", queue->host}};
    struct http_pool_request request = {.method = is_post ? "POST" : "DELETE",
                                        .url = queue->url,
                                        .headers = headers,
                                        .header_count = 1,
                                        .body = is_post ? item->payload : NULL,
                                        .body_len = item->payload_len,
                                        .timeout_ms = left_ms < timeout_ms ? left_ms : timeout_ms,
                                        .max_answer_bytes = ANSWER_BYTES};

    if (sender->signer) {
        if (!sign(queue, &request, &signature)) {
            sender_note(&sender->notes, TROUBLE_ENDPOINT, queue->url, NULL);
            finish_first(queue, SENDER_REFUSED);
            return;
        }
        headers[request.header_count++] = (struct http_pool_header){"X-Amz-Date", signature.date};
        if (signature.session_token)
            headers[request.header_count++] =
                (struct http_pool_header){"X-Amz-Security-Token", signature.session_token};
        headers[request.header_count++] =
            (struct http_pool_header){"Authorization", signature.authorization};
    }
    set_state(queue, QUEUE_OPEN, 0);
    queue->call = http_pool_start(sender->env.pool, &request, on_answer, queue);
}

static void start_first(struct queue *queue)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): a queue that is freed is in no list */
    int64_t left_ms = queue->first->deadline_ms - clock_mono_ms();

    if (!queue->host) {
        finish_first(queue, SENDER_REFUSED);
    } else if (left_ms <= 0) {
        sender_note(&queue->sender->notes, TROUBLE_LATE, queue->url, NULL);
        finish_first(queue, SENDER_FAILED);
    } else {
        open_first(queue, left_ms);
    }
}

static void pump(void *ctx)
{
    struct sender *sender = ctx;

    while (sender->ready && sender->open_count < (size_t)sender->env.config->sender_parallel)
        start_first(sender->ready);
}

/* ---- lifetime ---- */

/* What may stand in a header. */
static bool is_visible(const char *text)
{
    for (; *text; text++) {
        if (*text <= ' ' || *text > '~')
            return false;
    }
    return true;
}

static void read_credentials(struct sender *sender)
{
    const struct config *config = sender->env.config;
    bool has_id = *config->aws_access_key_id != '\0';
    bool has_secret = *config->aws_secret_access_key != '\0';
    bool is_good = false;

    if (has_id != has_secret)
        log_warn("sender.credentials", "signing=off hint=%s",
                 log_quote("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"));
    else if (!is_visible(config->aws_access_key_id) || !is_visible(config->aws_session_token))
        log_warn("sender.credentials", "signing=off hint=%s",
                 log_quote("blanks or line ends in AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN"));
    else
        is_good = has_id;
    sender->credentials =
        (struct sigv4_credentials){.access_key_id = config->aws_access_key_id,
                                   .secret_access_key = config->aws_secret_access_key,
                                   .session_token = config->aws_session_token};
    if (is_good)
        sender->signer = sigv4_signer_create(&sender->credentials, "execute-api");
}

struct sender *sender_create(const struct sender_env *env)
{
    struct sender *sender = mem_alloc(sizeof(*sender));

    sender->env = *env;
    sender->slot_count = FIRST_SLOTS;
    sender->slots = mem_alloc(FIRST_SLOTS * sizeof(*sender->slots));
    sender->ready_last = &sender->ready;
    sender->pump = (struct deferred){.fn = pump, .ctx = sender};
    sender->deadlines.rings_ms = INT64_MAX;
    sender_base_init(&sender->base);
    buf_init(&sender->url, URL_BYTES);
    read_credentials(sender);
    return sender;
}

void sender_free(struct sender *sender)
{
    struct queue *next;

    if (!sender)
        return;
    sender->is_ending = true;
    for (size_t i = 0; i < sender->slot_count; i++) {
        for (struct queue *queue = sender->slots[i]; queue; queue = next) {
            next = queue->next;
            if (queue->call)
                http_call_cancel(queue->call);
            finish_all(queue, SENDER_FAILED);
        }
    }
    loop_undefer(sender->env.loop, &sender->pump);
    loop_timer_stop(sender->deadlines.timer);
    free(sender->deadlines.items);
    sender_base_done(&sender->base);
    buf_done(&sender->url);
    sigv4_signer_free(sender->signer);
    free(sender->slots);
    free(sender);
}

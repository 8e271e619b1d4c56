/* SPDX-License-Identifier: Apache-2.0 */
#include "connections.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

/* Running out of memory is our end, not an error to unwind (STYLE: our sizes may kill us). */
#define uthash_malloc(size) mem_alloc(size)
#include <uthash.h>

/* uthash's macros convert freely between signed and unsigned; that is theirs to answer for. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wcast-qual"

/* The hash links stand beside the connection, so that the header needs no uthash. */
struct entry {
    struct connection connection; /* first: a connection is its entry */
    UT_hash_handle hh;
};

struct topic {
    struct membership *members;
    size_t count;
    UT_hash_handle hh;
    char name[];
};

enum { AHEAD = 4 }; /* members whose memory is fetched before their turn */

/* One connection in one topic, in two lists. */
struct membership {
    struct connection *connection;
    struct topic *topic;
    struct membership *connection_next;         /* the connection's topics */
    struct membership *topic_prev, *topic_next; /* the topic's connections */
};

struct connections {
    struct entry *by_id;
    struct topic *topics;
    struct connection *first;
    size_t count;
    size_t max_queue_bytes;
    uint32_t ordinals;
};

struct connections *connections_create(size_t max_queue_bytes)
{
    struct connections *connections = mem_alloc(sizeof(*connections));

    connections->max_queue_bytes = max_queue_bytes;
    return connections;
}

void connections_free(struct connections *connections)
{
    assert(connections->count == 0 && connections->topics == NULL);
    free(connections);
}

size_t connections_count(const struct connections *connections)
{
    return connections->count;
}

struct connection *connection_create(struct connections *connections)
{
    struct entry *entry = mem_alloc(sizeof(*entry));
    struct connection *connection = &entry->connection;

    id_mint_connection(connection->minted_id);
    connection->id = connection->minted_id;
    connection->ordinal = ++connections->ordinals;
    connection->slot = -1;
    connection->is_greeting = true;
    connection->connected_at_ms = clock_unix_ms();
    connection->last_activity_ms = connection->connected_at_ms;
    connection->opened_mono_ms = clock_mono_ms();
    connection->last_seen_mono_ms = connection->opened_mono_ms;
    buf_init(&connection->out, connections->max_queue_bytes);
    HASH_ADD_STR(connections->by_id, connection.id, entry);
    connection->all_next = connections->first;
    if (connections->first)
        connections->first->all_prev = connection;
    connections->first = connection;
    connections->count++;
    return connection;
}

/* ---- topics ---- */

static void leave_topic(struct connections *connections, struct membership *membership)
{
    struct topic *topic = membership->topic;

    if (membership->topic_prev)
        membership->topic_prev->topic_next = membership->topic_next;
    else
        topic->members = membership->topic_next;
    if (membership->topic_next)
        membership->topic_next->topic_prev = membership->topic_prev;
    free(membership);
    if (--topic->count == 0) {
        /* The analyzer takes the table for empty here; there is this topic in it. */
        HASH_DEL(connections->topics, topic); /* NOLINT(clang-analyzer-core.NullDereference) */
        free(topic);
    }
}

static struct topic *find_topic(const struct connections *connections, const char *name)
{
    struct topic *topic;

    HASH_FIND_STR(connections->topics, name, topic);
    return topic;
}

static struct topic *find_or_add_topic(struct connections *connections, const char *name)
{
    struct topic *topic = find_topic(connections, name);
    size_t len = strlen(name);

    if (topic)
        return topic;
    topic = mem_alloc(sizeof(*topic) + len + 1);
    memcpy(topic->name, name, len + 1);
    HASH_ADD_STR(connections->topics, name, topic);
    return topic;
}

/* A connection has few topics, a topic may have many connections: search the connection's list. */
static struct membership **find_membership(struct connection *connection, const char *name)
{
    struct membership **link = &connection->memberships;

    while (*link && strcmp((*link)->topic->name, name) != 0)
        link = &(*link)->connection_next;
    return link;
}

bool connection_subscribe(struct connections *connections, struct connection *connection,
                          const char *topic)
{
    struct membership *membership;

    if (*find_membership(connection, topic))
        return false;
    membership = mem_alloc(sizeof(*membership));
    membership->connection = connection;
    membership->topic = find_or_add_topic(connections, topic);
    membership->connection_next = connection->memberships;
    connection->memberships = membership;
    membership->topic_next = membership->topic->members;
    if (membership->topic_next)
        membership->topic_next->topic_prev = membership;
    membership->topic->members = membership;
    membership->topic->count++;
    return true;
}

bool connection_unsubscribe(struct connections *connections, struct connection *connection,
                            const char *topic)
{
    struct membership **link = find_membership(connection, topic);
    struct membership *membership = *link;

    if (!membership)
        return false;
    *link = membership->connection_next;
    leave_topic(connections, membership);
    return true;
}

bool connection_is_subscribed(const struct connection *connection, const char *topic)
{
    for (const struct membership *m = connection->memberships; m; m = m->connection_next)
        if (strcmp(m->topic->name, topic) == 0)
            return true;
    return false;
}

const char *connection_user_id(const struct connection *connection)
{
    for (const struct membership *m = connection->memberships; m; m = m->connection_next)
        if (strncmp(m->topic->name, "user:", 5) == 0)
            return m->topic->name + 5;
    return NULL;
}

size_t topic_count(const struct connections *connections, const char *topic)
{
    const struct topic *found = find_topic(connections, topic);

    return found ? found->count : 0;
}

void topic_each(struct connections *connections, const char *topic, connection_fn *fn, void *ctx)
{
    const struct topic *found = find_topic(connections, topic);
    struct membership *first = found ? found->members : NULL;
    struct membership *ahead = first;
    struct membership *next;

    for (int i = 0; ahead && i < AHEAD; i++)
        ahead = ahead->topic_next;
    for (struct membership *member = first; member; member = next) {
        next = member->topic_next;
        if (ahead) {
            connection_prefetch(ahead->connection);
            ahead = ahead->topic_next;
        }
        fn(ctx, member->connection);
    }
}

void connection_each_topic(const struct connection *connection, topic_fn *fn, void *ctx)
{
    for (const struct membership *m = connection->memberships; m; m = m->connection_next)
        fn(ctx, m->topic->name);
}

/* ---- life ---- */

static void free_contents(struct connection *connection)
{
    buf_done(&connection->out);
    if (connection->after_greeting)
        buf_done(connection->after_greeting);
    free(connection->after_greeting);
    free(connection->source_ip);
    free(connection->user_agent);
    free(connection->domain_name);
    free(connection->authorizer);
}

void connection_free(struct connections *connections, struct connection *connection)
{
    struct entry *entry = CONTAINER_OF(connection, struct entry, connection);

    while (connection->memberships) {
        struct membership *membership = connection->memberships;

        connection->memberships = membership->connection_next;
        leave_topic(connections, membership);
    }
    if (connection->all_prev)
        connection->all_prev->all_next = connection->all_next;
    else
        connections->first = connection->all_next;
    if (connection->all_next)
        connection->all_next->all_prev = connection->all_prev;
    HASH_DEL(connections->by_id, entry);
    connections->count--;
    free_contents(connection);
    free(entry);
}

struct connection *connection_create_virtual(const char *id, size_t max_queue_bytes)
{
    struct connection *connection = mem_alloc(sizeof(*connection));

    connection->id = mem_strdup(id);
    connection->slot = -1;
    connection->is_greeting = true;
    connection->state = CONNECTION_OPEN;
    buf_init(&connection->out, max_queue_bytes);
    return connection;
}

void connection_free_virtual(struct connection *connection)
{
    union {
        const char *borrowed;
        char *owned;
    } id = {.borrowed = connection->id};

    free_contents(connection);
    free(id.owned);
    free(connection);
}

void connection_set_state(struct connection *connection, enum connection_state state)
{
    static const bool is_allowed[4][4] = {
        [CONNECTION_OPENING] = {[CONNECTION_OPEN] = true, [CONNECTION_CLOSED] = true},
        [CONNECTION_OPEN] = {[CONNECTION_CLOSING] = true, [CONNECTION_CLOSED] = true},
        [CONNECTION_CLOSING] = {[CONNECTION_CLOSED] = true},
    };

    assert(is_allowed[connection->state][state]);
    connection->state = state;
}

struct connection *connection_find(const struct connections *connections, const char *id)
{
    struct entry *entry;

    HASH_FIND_STR(connections->by_id, id, entry);
    return entry ? &entry->connection : NULL;
}

struct connection *connections_first(const struct connections *connections)
{
    return connections->first;
}

struct connection *connections_next(const struct connection *connection)
{
    return connection->all_next;
}

void connection_prefetch(const struct connection *connection)
{
    if (!connection)
        return;
    __builtin_prefetch(connection, 1);
    __builtin_prefetch((const char *)connection + CACHE_LINE_BYTES, 1);
    __builtin_prefetch((const char *)connection + 2 * CACHE_LINE_BYTES, 1);
}

const char *connection_tag(const struct connection *connection)
{
    static _Thread_local char ring[4][16];
    static _Thread_local unsigned turn;
    char *tag = ring[turn++ % ARRAY_LEN(ring)];

    snprintf(tag, sizeof(ring[0]), "c-%u", connection->ordinal);
    return tag;
}

/* ---- output ---- */

void frame_write_text(struct buf *out, const char *text, size_t len)
{
    unsigned char head[FRAME_HEAD_BYTES];

    buf_add(out, head, frame_write_head(head, FRAME_FIN | FRAME_TEXT, len));
    buf_add(out, text, len);
}

bool frame_next(const struct buf *out, size_t *at, const char **text, size_t *len)
{
    const unsigned char *header = (const unsigned char *)out->data + *at;
    size_t size = 2;
    size_t length;

    if (*at >= out->len)
        return false;
    assert(header[0] == 0x81); /* our own frames: whole texts, not masked */
    length = header[1];
    if (length == 126) {
        length = (size_t)header[2] << 8 | header[3];
        size = 4;
    } else if (length == 127) {
        length = 0;
        for (int i = 0; i < 8; i++)
            length = length << 8 | header[2 + i];
        size = 10;
    }
    *text = out->data + *at + size;
    *len = length;
    *at += size + length;
    return true;
}

void frame_write_seq(struct buf *out, int64_t seq, const char *text, size_t len)
{
    struct buf payload;

    buf_init(&payload, SIZE_MAX);
    buf_addf(&payload, "{\"seq\":%lld", (long long)seq);
    if (len >= 2 && text[0] == '{') {
        buf_adds(&payload, text[1] == '}' ? "" : ",");
        buf_add(&payload, text + 1, len - 1);
    } else {
        buf_adds(&payload, ",\"data\":");
        buf_add(&payload, text, len);
        buf_addc(&payload, '}');
    }
    frame_write_text(out, payload.data, payload.len);
    buf_done(&payload);
}

static void announce_output(struct connection *connection)
{
    if (connection->is_output_pending || !connection->socket_ops)
        return;
    connection->is_output_pending = true;
    connection->socket_ops->on_output(connection);
}

static bool is_closing(const struct connection *connection)
{
    return connection->has_close || connection->state >= CONNECTION_CLOSING;
}

size_t connection_unsent(const struct connection *connection)
{
    return connection->out.len - connection->out_sent;
}

/* When that saves growing: moving what is left costs no more than sending it has. */
bool connection_make_room(struct connection *connection, size_t len)
{
    struct buf *out = &connection->out;
    bool is_past_limit = out->len + len > out->limit;

    if (is_past_limit && connection_unsent(connection) + len > out->limit)
        return false;
    if (is_past_limit || (out->len + len >= out->cap && connection->out_sent > out->len / 2)) {
        buf_drop_front(out, connection->out_sent);
        connection->out_sent = 0;
    }
    return true;
}

/* A peer that does not read what it asked for must not cost the others their memory.  The frame
 * that was begun is ended all the same: a close frame comes behind it. */
static enum status close_slow(struct connection *connection)
{
    buf_drop_front(&connection->out, connection->out_sent);
    connection->out_sent = 0;
    connection->out.len = connection->out_owed;
    connection_close(connection, 1008, "Too slow: the output queue is full");
    return LIMIT;
}

/* Where it goes now; while $connect runs that is not yet the socket's queue. */
static struct buf *queue_of(struct connection *connection)
{
    if (!connection->is_greeting)
        return &connection->out;
    if (!connection->after_greeting) {
        connection->after_greeting = mem_alloc(sizeof(*connection->after_greeting));
        buf_init(connection->after_greeting, connection->out.limit);
    }
    return connection->after_greeting;
}

/* A frame in two parts: its header may be one of its own. */
static enum status add_frame(struct connection *connection, struct buf *queue, struct slice header,
                             struct slice rest)
{
    size_t len = header.len + rest.len;
    bool has_room;

    if (is_closing(connection))
        return GONE;
    has_room = queue == &connection->out ? connection_make_room(connection, len)
                                         : queue->len + len <= queue->limit;
    if (!has_room)
        return close_slow(connection);
    buf_add(queue, header.data, header.len);
    buf_add(queue, rest.data, rest.len);
    if (queue == &connection->out)
        announce_output(connection);
    return OK;
}

enum status connection_send(struct connection *connection, const char *text, size_t len)
{
    unsigned char bytes[FRAME_HEAD_BYTES];
    struct slice head = {(const char *)bytes, frame_write_head(bytes, FRAME_FIN | FRAME_TEXT, len)};

    return add_frame(connection, queue_of(connection), head, (struct slice){text, len});
}

enum status connection_send_frame(struct connection *connection, const char *frame, size_t len)
{
    return add_frame(connection, queue_of(connection), (struct slice){frame, len},
                     (struct slice){"", 0});
}

enum status connection_send_greeting(struct connection *connection, const char *frame, size_t len)
{
    return add_frame(connection, &connection->out, (struct slice){frame, len},
                     (struct slice){"", 0});
}

void connection_release(struct connection *connection)
{
    struct buf *waiting = connection->after_greeting;

    connection->is_greeting = false;
    connection->after_greeting = NULL;
    if (!waiting)
        return;
    if (connection_send_frame(connection, waiting->data, waiting->len) != OK)
        buf_clear(waiting); /* it is closing: whoever closed it has said why */
    buf_done(waiting);
    free(waiting);
}

void connection_ping(struct connection *connection)
{
    static const char frame[4] = {(char)0x89, 2, 's', 'b'}; /* FIN, opcode 9, two bytes */

    if (is_closing(connection) || !connection_make_room(connection, sizeof(frame)))
        return;
    buf_add(&connection->out, frame, sizeof(frame));
    announce_output(connection);
}

void connection_close(struct connection *connection, int code, const char *reason)
{
    if (is_closing(connection))
        return;
    connection->has_close = true;
    connection->close_code = code;
    snprintf(connection->close_reason, sizeof(connection->close_reason), "%s", reason);
    /* While $connect runs the close waits for the 101; websocket.c sees has_close then. */
    if (connection->state == CONNECTION_OPEN)
        connection_set_state(connection, CONNECTION_CLOSING);
    announce_output(connection);
}

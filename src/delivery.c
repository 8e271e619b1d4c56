/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery.h"

#include <stdlib.h>
#include <string.h>

#include "connections.h"
#include "json.h"
#include "metrics.h"
#include "replay.h"

static const char *const kind_names[] = {
    [DELIVERY_REPLY] = "reply", [DELIVERY_CONNECTION] = "connection",
    [DELIVERY_USER] = "user",   [DELIVERY_TOPIC] = "topic",
    [DELIVERY_ALL] = "all",     [DELIVERY_CLOSE] = "close",
};

bool delivery_kind_parse(const char *word, enum delivery_kind *out)
{
    for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
        if (strcmp(word, kind_names[i]) == 0) {
            *out = (enum delivery_kind)i;
            return true;
        }
    }
    return false;
}

const char *delivery_kind_name(enum delivery_kind kind)
{
    return kind_names[kind];
}

/* A message on its way to several connections, framed once. */
struct fan_out {
    const struct delivery_context *context;
    const struct delivery *delivery;
    struct buf frame;
    struct buf numbered; /* the same with seq; empty until somebody wants it */
    size_t reached;
    int64_t unix_ms, mono_ms;
    bool is_reply;
};

/* What this connection is to get; NULL when its replay sees to it. */
static const struct buf *choose_frame(struct fan_out *out, struct connection *connection)
{
    const struct delivery *delivery = out->delivery;
    const struct buf *numbered = &out->numbered;

    if (delivery->seq == 0 || !connection->wants_seq)
        return &out->frame;
    if (numbered->len == 0)
        frame_write_seq(&out->numbered, delivery->seq, delivery->payload, delivery->payload_len);
    if (delivery->kind == DELIVERY_TOPIC &&
        replay_holds(connection, delivery->target, delivery->seq, numbered->data, numbered->len))
        return NULL;
    return numbered;
}

static void send_frame(void *ctx, struct connection *connection)
{
    struct fan_out *out = ctx;
    struct metrics *metrics = out->context->metrics;
    const struct buf *frame;
    enum status st;

    if (out->delivery->except && strcmp(connection->id, out->delivery->except) == 0)
        return;
    frame = choose_frame(out, connection);
    if (!frame)
        return;
    st = out->is_reply ? connection_send_greeting(connection, frame->data, frame->len)
                       : connection_send_frame(connection, frame->data, frame->len);
    switch (st) {
    case OK:
        out->reached++;
        metrics->messages_out++;
        /* Only the time: the touch of a receiver is not worth a database write of its own. */
        connection->last_activity_ms = out->unix_ms;
        connection->last_seen_mono_ms = out->mono_ms;
        break;
    case LIMIT:
        metrics->slow_closed++;
        break;
    case GONE:
    case INVALID:
    case DENIED:
    case NOT_FOUND:
    case UNAVAILABLE:
    case INTERNAL:
        break;
    }
}

static void send_to_topic(struct fan_out *out, const char *prefix, const char *name)
{
    struct buf topic;

    buf_init(&topic, SIZE_MAX);
    buf_adds(&topic, prefix);
    buf_adds(&topic, name);
    topic_each(out->context->connections, buf_str(&topic), send_frame, out);
    buf_done(&topic);
}

static void send_to_all(struct fan_out *out)
{
    struct connection *next;

    for (struct connection *c = connections_first(out->context->connections); c; c = next) {
        next = connections_next(c);
        send_frame(out, c);
    }
}

static void send_to_one(struct fan_out *out, struct connection *connection)
{
    if (connection)
        send_frame(out, connection);
}

/* RFC 6455, section 7.4: what a close frame may carry. */
static bool is_sendable_code(int64_t code)
{
    return code >= 1000 && code <= 4999 && !(code >= 1004 && code <= 1006) && code != 1015;
}

/* {"code":1000,"reason":"..."}; a code that may not be sent becomes 1000. */
static size_t close_one(struct connection *connection, const struct delivery *delivery)
{
    const char *payload = delivery->payload ? delivery->payload : "{}";
    struct json *json = NULL;
    const char *reason = "";
    int64_t code = 1000;

    if (!connection)
        return 0;
    if (json_parse(payload, strlen(payload), &json, NULL) != OK ||
        json_opt_int(json, "code", &code, NULL) != OK ||
        json_opt_str(json, "reason", &reason, NULL) != OK || !is_sendable_code(code))
        code = 1000;
    connection_close(connection, (int)code, reason);
    json_free(json);
    return 1;
}

static struct connection *find_target(const struct delivery_context *context,
                                      struct connection *origin, const struct delivery *delivery)
{
    return delivery->target ? connection_find(context->connections, delivery->target) : origin;
}

size_t deliver(const struct delivery_context *context, struct connection *origin,
               const struct delivery *delivery)
{
    struct fan_out out = {.context = context,
                          .delivery = delivery,
                          .unix_ms = clock_unix_ms(),
                          .mono_ms = clock_mono_ms()};
    const char *target = delivery->target ? delivery->target : "";

    if (delivery->kind == DELIVERY_CLOSE)
        return close_one(find_target(context, origin, delivery), delivery);
    buf_init(&out.frame, SIZE_MAX); /* the payload is one PostgreSQL field: bounded already */
    buf_init(&out.numbered, SIZE_MAX);
    frame_write_text(&out.frame, delivery->payload ? delivery->payload : "", delivery->payload_len);
    switch (delivery->kind) {
    case DELIVERY_REPLY:
        out.is_reply = true;
        send_to_one(&out, origin);
        break;
    case DELIVERY_CONNECTION:
        send_to_one(&out, find_target(context, NULL, delivery));
        break;
    case DELIVERY_USER:
        send_to_topic(&out, "user:", target);
        break;
    case DELIVERY_TOPIC:
        send_to_topic(&out, "", target);
        break;
    case DELIVERY_ALL:
        send_to_all(&out);
        break;
    case DELIVERY_CLOSE:
        break;
    }
    buf_done(&out.frame);
    buf_done(&out.numbered);
    return out.reached;
}

bool delivery_may_be_remote(const struct delivery_context *context, const struct delivery *delivery)
{
    switch (delivery->kind) {
    case DELIVERY_REPLY:
        return false;
    case DELIVERY_CONNECTION:
    case DELIVERY_CLOSE:
        return delivery->target && !connection_find(context->connections, delivery->target);
    case DELIVERY_USER:
    case DELIVERY_TOPIC:
    case DELIVERY_ALL:
        return true;
    }
    return false;
}

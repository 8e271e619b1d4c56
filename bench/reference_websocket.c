/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference_websocket.c - the smallest WebSocket servers: echo, and everything of one to all
 * others.
 *
 * A reply is never longer than the masked frame it answers, so replies are made in the buffer that
 * was read into, from its beginning; all those of one read are one write.
 */
#include "reference.h"

#include "http_head.h"

#include <stdlib.h>
#include <string.h>

enum { PEER_NEW, PEER_OPEN, PEER_PUBLISHER };

enum {
    MASKED_HEAD_BYTES = 6,
    MASK_BYTES = 4,
    OPCODE = 0x0f,
    OPCODE_CLOSE = 0x8,
    OPCODE_PING = 0x9,
    OPCODE_PONG = 0xa,
    CONTROL_BIT = 0x8,
    FIN = 0x80,
    MASKED = 0x80,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    HEAD_BYTES_MOST = 10,
    CONTROL_BYTES = 125
};

/* ---- frames ---- */

struct frame {
    unsigned first;
    const char *mask;
    const char *payload;
    size_t len;
};

/* False when it is not complete. */
static inline bool read_frame(const char *data, size_t len, struct frame *out)
{
    const unsigned char *p = (const unsigned char *)data;
    size_t head = MASKED_HEAD_BYTES;
    uint64_t size;

    if (len < MASKED_HEAD_BYTES)
        return false;
    size = p[1] & ~(unsigned)MASKED;
    if (size == LENGTH_16) {
        size = (uint64_t)p[2] << 8 | p[3];
        head += 2;
    } else if (size == LENGTH_64) {
        if (len < MASKED_HEAD_BYTES + 8)
            return false;
        memcpy(&size, p + 2, sizeof(size));
        size = __builtin_bswap64(size);
        head += 8;
    }
    if (len < head || len - head < size)
        return false;
    *out = (struct frame){p[0], data + head - MASK_BYTES, data + head, (size_t)size};
    return true;
}

/* Forwards: `to` may be in front of the payload, in the same buffer. */
static inline void unmask(char *to, const struct frame *frame)
{
    const char *from = frame->payload;
    uint64_t mask;
    size_t i = 0;
    char bytes[8];

    memcpy(bytes, frame->mask, MASK_BYTES);
    memcpy(bytes + MASK_BYTES, frame->mask, MASK_BYTES);
    memcpy(&mask, bytes, sizeof(mask));
    for (; i + 8 <= frame->len; i += 8) {
        uint64_t word;

        memcpy(&word, from + i, sizeof(word));
        word ^= mask;
        memcpy(to + i, &word, sizeof(word));
    }
    for (; i < frame->len; i++)
        to[i] = (char)(from[i] ^ bytes[i & 7]);
}

static inline size_t write_head(char *out, unsigned first, size_t len)
{
    uint64_t swapped = __builtin_bswap64(len);

    out[0] = (char)first;
    if (len < LENGTH_16) {
        out[1] = (char)len;
        return 2;
    }
    if (len <= 0xffff) {
        out[1] = LENGTH_16;
        out[2] = (char)(len >> 8);
        out[3] = (char)len;
        return 4;
    }
    out[1] = LENGTH_64;
    memcpy(out + 2, &swapped, sizeof(swapped));
    return HEAD_BYTES_MOST;
}

/* The same frame as a server sends it; the frame may be overwritten by it. */
static inline size_t write_frame(char *out, const struct frame *frame, unsigned first)
{
    struct frame copy = *frame;
    char mask[MASK_BYTES];
    size_t head;

    memcpy(mask, frame->mask, MASK_BYTES);
    copy.mask = mask;
    head = write_head(out, first, frame->len);
    unmask(out + head, &copy);
    return head + frame->len;
}

/* Ping: pong, at once.  Close: the same back; false. */
static bool answer_control(struct server_peer *peer, const struct frame *frame)
{
    unsigned opcode = frame->first & OPCODE;
    char out[HEAD_BYTES_MOST + CONTROL_BYTES];

    if (frame->len > CONTROL_BYTES) {
        server_close(peer);
        return false;
    }
    if (opcode == OPCODE_PING)
        server_send(peer, out, write_frame(out, frame, FIN | OPCODE_PONG));
    else if (opcode == OPCODE_CLOSE)
        server_send(peer, out, write_frame(out, frame, FIN | OPCODE_CLOSE));
    return opcode != OPCODE_CLOSE;
}

/* ---- peers ---- */

typedef void pass(struct server_peer *peer, const char *frames, size_t len);

/* Frames to `pass`; returns what was used. */
static inline size_t take_frames(struct server_peer *peer, char *data, size_t len, pass *pass_on)
{
    struct frame frame = {0};
    bool is_open = true;
    size_t at = 0, made = 0;

    while (is_open && read_frame(data + at, len - at, &frame)) {
        at = (size_t)(frame.payload - data) + frame.len;
        if (frame.first & CONTROL_BIT)
            is_open = (frame.first & OPCODE) != OPCODE_CLOSE && answer_control(peer, &frame);
        else
            made += write_frame(data + made, &frame, frame.first);
    }
    pass_on(peer, data, made);
    if (!is_open) {
        (void)answer_control(peer, &frame);
        server_close(peer);
    }
    return at;
}

/* Returns what was used: the head, when it is complete. */
static size_t open_peer(struct server_peer *peer, const char *data, size_t len)
{
    static const char publishers[] = "/pub";
    char answer[HANDSHAKE_ANSWER_BYTES];
    struct http_head head;

    if (!handshake_read(peer, data, len, &head))
        return 0;
    peer->state = head.target.len >= strlen(publishers) &&
                          memcmp(head.target.data, publishers, strlen(publishers)) == 0
                      ? PEER_PUBLISHER
                      : PEER_OPEN;
    server_send(peer, answer, handshake_answer(&head, answer));
    return head.size;
}

/* ---- echo ---- */

static size_t on_echo_data(struct server_peer *peer, char *data, size_t len)
{
    size_t used = 0;

    if (peer->state == PEER_NEW) {
        used = open_peer(peer, data, len);
        if (peer->state == PEER_NEW || peer->is_closed)
            return used;
    }
    return used + take_frames(peer, data + used, len - used, server_send);
}

const struct server_handler reference_echo = {.on_data = on_echo_data};

/* ---- fan-out ---- */

/* There is one server in a process.  A subscriber's place is its ctx, one more than the index. */
static struct {
    struct server_peer **all;
    size_t count;
    size_t cap;
} subscribers;

static void add_subscriber(struct server_peer *peer)
{
    if (subscribers.count == subscribers.cap) {
        subscribers.cap = subscribers.cap ? 2 * subscribers.cap : 1024;
        subscribers.all = mem_realloc(subscribers.all, subscribers.cap * sizeof(*subscribers.all));
    }
    subscribers.all[subscribers.count++] = peer;
    peer->ctx = (void *)(uintptr_t)subscribers.count;
}

/* The last one takes its place. */
static void on_fanout_closed(struct server_peer *peer)
{
    size_t place = (uintptr_t)peer->ctx;
    struct server_peer *last;

    if (place == 0)
        return;
    last = subscribers.all[--subscribers.count];
    subscribers.all[place - 1] = last;
    last->ctx = peer->ctx;
}

/* From the end: one that is closed on the way takes none of those away that are still to come. */
static void pass_to_all(struct server_peer *peer, const char *frames, size_t len)
{
    if (peer->state != PEER_PUBLISHER || len == 0)
        return;
    for (size_t i = subscribers.count; i-- > 0;)
        server_send(subscribers.all[i], frames, len);
}

static size_t on_fanout_data(struct server_peer *peer, char *data, size_t len)
{
    size_t used = 0;

    if (peer->state == PEER_NEW) {
        used = open_peer(peer, data, len);
        if (peer->state == PEER_NEW || peer->is_closed)
            return used;
        if (peer->state == PEER_OPEN)
            add_subscriber(peer);
    }
    return used + take_frames(peer, data + used, len - used, pass_to_all);
}

const struct server_handler reference_fanout = {.on_data = on_fanout_data,
                                                .on_closed = on_fanout_closed};

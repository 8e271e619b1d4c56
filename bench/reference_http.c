/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference_http.c - the smallest HTTP/1.1 servers: one that takes what it is sent and says 200,
 * and one that is a Lambda function which answers with the message it was given.
 *
 * Connections stay open; bodies have a Content-Length; all answers of one read are one write.
 */
#include "reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { OUT_BYTES = 64 * 1024, HEAD_BYTES_MOST = 16 * 1024, ANSWER_HEAD_BYTES = 128 };

struct request {
    const char *body;
    size_t body_len;
};

static uint64_t request_count;

uint64_t reference_request_count(void)
{
    return request_count;
}

/* ---- requests ---- */

static size_t find_content_length(const char *head, const char *end)
{
    static const char name[] = "\nContent-Length:";
    size_t len = sizeof(name) - 1;

    for (const char *at = head; (at = memchr(at, '\n', (size_t)(end - at))); at++) {
        if ((size_t)(end - at) > len && strncasecmp(at, name, len) == 0)
            return strtoul(at + len, NULL, 10); /* the head's end stops it */
    }
    return 0;
}

/* Returns the size of the request at data; 0 when it is not complete. */
static size_t read_request(struct server_peer *peer, const char *data, size_t len,
                           struct request *out)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);

    if (!end) {
        if (len > HEAD_BYTES_MOST)
            server_close(peer);
        return 0;
    }
    out->body_len = find_content_length(data, end + 2);
    out->body = end + 4;
    if (len - (size_t)(out->body - data) < out->body_len)
        return 0;
    return (size_t)(out->body - data) + out->body_len;
}

/* ---- answers ---- */

/* What is written at the end of the read, or when it is full. */
struct answers {
    struct server_peer *peer;
    size_t len;
    char bytes[OUT_BYTES];
};

static void flush(struct answers *out)
{
    server_send(out->peer, out->bytes, out->len);
    out->len = 0;
}

static void add(struct answers *out, const char *data, size_t len)
{
    if (out->len + len > OUT_BYTES)
        flush(out);
    if (len > OUT_BYTES) {
        server_send(out->peer, data, len);
        return;
    }
    memcpy(out->bytes + out->len, data, len);
    out->len += len;
}

static void add_nothing(struct answers *out, const struct request *request)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    (void)request;
    add(out, answer, sizeof(answer) - 1);
}

/* The length of the text of JSON at data, which ends with a quote that has no backslash. */
static size_t text_len(const char *data, const char *end)
{
    const char *at = data;

    while (at < end && *at != '"')
        at += *at == '\\' ? 2 : 1;
    return (size_t)((at < end ? at : end) - data);
}

/* The event's body is a text of JSON, and goes back as it came.  Inside of other texts its name
 * has backslashes, so it is found by looking. */
static void add_message(struct answers *out, const struct request *request)
{
    static const char name[] = "\"body\":\"", before[] = "{\"statusCode\":200,\"body\":\"",
                      after[] = "\"}";
    const char *end = request->body + request->body_len;
    const char *text = memmem(request->body, request->body_len, name, sizeof(name) - 1);
    char head[ANSWER_HEAD_BYTES];
    size_t len = 0, head_len;

    if (text) {
        text += sizeof(name) - 1;
        len = text_len(text, end);
    }
    head_len = (size_t)snprintf(head, sizeof(head),
                                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                "Content-Length: %zu\r\n\r\n",
                                sizeof(before) - 1 + len + sizeof(after) - 1);
    add(out, head, head_len);
    add(out, before, sizeof(before) - 1);
    add(out, text ? text : "", len);
    add(out, after, sizeof(after) - 1);
}

/* ---- the modes ---- */

typedef void add_answer(struct answers *out, const struct request *request);

static size_t answer_all(struct server_peer *peer, const char *data, size_t len,
                         add_answer *add_one)
{
    static struct answers out;
    struct request request;
    size_t used = 0, size;

    out.peer = peer;
    out.len = 0;
    while ((size = read_request(peer, data + used, len - used, &request)) > 0) {
        add_one(&out, &request);
        request_count++;
        used += size;
    }
    flush(&out);
    return used;
}

static size_t on_sink_data(struct server_peer *peer, char *data, size_t len)
{
    return answer_all(peer, data, len, add_nothing);
}

static size_t on_invoke_data(struct server_peer *peer, char *data, size_t len)
{
    return answer_all(peer, data, len, add_message);
}

const struct server_handler reference_sink = {.on_data = on_sink_data};
const struct server_handler reference_invoke = {.on_data = on_invoke_data};

/* SPDX-License-Identifier: Apache-2.0 */
#include "load_http.h"

#include <string.h>
#include <strings.h>

#include "peer.h"

enum { SHOWN = 500, LINE_END = 2, LIMIT = 1024 * 1024 };

static int shown(size_t len)
{
    return (int)(len < SHOWN ? len : SHOWN);
}

static const char *find_line_end(const char *from, const char *end)
{
    return memmem(from, (size_t)(end - from), "\r\n", LINE_END);
}

/* The value of a header, up to the end of its line; NULL when there is none. */
static const char *find_header(const char *head, const char *end, const char *name)
{
    size_t name_len = strlen(name);

    for (const char *line = find_line_end(head, end); line; line = find_line_end(line, end)) {
        line += LINE_END;
        if ((size_t)(end - line) <= name_len || strncasecmp(line, name, name_len) != 0 ||
            line[name_len] != ':')
            continue;
        line += name_len + 1;
        while (*line == ' ' || *line == '\t')
            line++;
        return line;
    }
    return NULL;
}

/* What follows the number is its end: at least the end of the line is there. */
static size_t read_length(const char *text, unsigned base)
{
    size_t number = 0;

    for (;; text++) {
        unsigned digit = base;
        if (*text >= '0' && *text <= '9')
            digit = (unsigned)(*text - '0');
        else if ((*text | 0x20) >= 'a' && (*text | 0x20) <= 'f')
            digit = (unsigned)((*text | 0x20) - 'a') + 10;
        if (digit >= base || number > LIMIT)
            return number;
        number = number * base + digit;
    }
}

/* Returns the bytes of the chunks, the last one and the lines behind it included. */
static size_t take_chunks(const char *body, const char *end)
{
    const char *at = body;

    for (;;) {
        const char *line_end = find_line_end(at, end);
        size_t size;
        if (!line_end)
            return 0;
        size = read_length(at, 16);
        at = line_end + LINE_END;
        if (size == 0)
            break;
        if ((size_t)(end - at) < size + LINE_END)
            return 0;
        at += size + LINE_END;
    }
    for (;;) {
        const char *line_end = find_line_end(at, end);
        bool is_empty = line_end == at;
        if (!line_end)
            return 0;
        at = line_end + LINE_END;
        if (is_empty)
            return (size_t)(at - body);
    }
}

size_t http_take_answer(const struct peer *peer, const char *data, size_t len)
{
    const char *head_end = memmem(data, len, "\r\n\r\n", 4);
    const char *body = head_end ? head_end + 4 : NULL;
    const char *value;
    size_t size;

    if (len > LIMIT)
        peer_fail(peer, "an answer that is too large");
    if (!head_end)
        return 0;
    if (memcmp(data, "HTTP/1.1 2", 10) != 0)
        peer_fail(peer, "publishing was answered with: %.*s", shown(len), data);
    value = find_header(data, body, "Connection");
    if (value && strncasecmp(value, "close", 5) == 0)
        peer_fail(peer, "the server does not keep the connection: %.*s", shown(len), data);
    if (memcmp(data + 8, " 204", 4) == 0)
        return (size_t)(body - data);
    value = find_header(data, body, "Transfer-Encoding");
    if (value && strncasecmp(value, "chunked", 7) == 0) {
        size = take_chunks(body, data + len);
        return size ? (size_t)(body - data) + size : 0;
    }
    value = find_header(data, body, "Content-Length");
    if (value) {
        size = (size_t)(body - data) + read_length(value, 10);
        return size <= len ? size : 0;
    }
    peer_fail(peer, "an answer without a length: %.*s", shown(len), data);
}

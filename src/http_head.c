/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_head.c - the head of an HTTP/1.1 request.
 *
 * A line is judged as soon as its bytes are there, so that what is no HTTP (a TLS handshake, say)
 * is refused at once and does not hold a slot until the time-out.
 */
#include "http_head.h"

#include <string.h>
#include <strings.h>

/* ---- slices ---- */

bool slice_is(struct slice s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.data, text, s.len) == 0);
}

bool slice_is_nocase(struct slice s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || strncasecmp(s.data, text, s.len) == 0);
}

char *slice_dup(struct slice s)
{
    return mem_strndup(s.data, s.len);
}

static struct slice trim(struct slice s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* ---- lines ---- */

/* RFC 9110, section 5.6.2: what names and methods are made of. */
static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(const char *data, size_t len)
{
    size_t n = 0;

    while (n < len && is_token_char(data[n]))
        n++;
    return n;
}

bool http_is_token(struct slice s)
{
    return s.len > 0 && token_len(s.data, s.len) == s.len;
}

/* The line at data without its CRLF.  INVALID as soon as a byte is there that no line may have: a
 * control character, a bare CR, a bare LF. */
static enum status next_line(const char *data, size_t len, struct slice *line, struct error *err)
{
    size_t n = 0;

    while (n < len && ((unsigned char)data[n] >= 0x20 || data[n] == '\t') && data[n] != 0x7f)
        n++;
    *line = (struct slice){data, n};
    if (n == len)
        return UNAVAILABLE;
    if (data[n] != '\r')
        return fail(err, INVALID, "byte 0x%02x in the head of a request", (unsigned char)data[n]);
    if (n + 1 == len)
        return UNAVAILABLE;
    if (data[n + 1] != '\n')
        return fail(err, INVALID, "a CR without an LF in the head of a request");
    return OK;
}

/* "http://host:port/path" (RFC 9112, section 3.2.2): where the path begins; 0 when it is not one.
 */
static size_t authority_end(struct slice target)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};

    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t at = strlen(schemes[i]);
        size_t start = at;

        if (target.len <= at || strncasecmp(target.data, schemes[i], at) != 0)
            continue;
        while (at < target.len && target.data[at] != '/' && target.data[at] != '?')
            at++;
        return at > start ? at : 0;
    }
    return 0;
}

static enum status split_target(struct http_head *head, struct error *err)
{
    struct slice rest = head->target;
    const char *question;
    size_t authority = authority_end(rest);

    rest.data += authority;
    rest.len -= authority;
    question = rest.len ? memchr(rest.data, '?', rest.len) : NULL;
    head->path = rest;
    if (question) {
        head->path.len = (size_t)(question - rest.data);
        head->query = (struct slice){question + 1, rest.len - head->path.len - 1};
    }
    if (authority && head->path.len == 0)
        head->path = (struct slice){"/", 1};
    if (head->path.len && (head->path.data[0] == '/' || slice_is(head->target, "*")))
        return OK;
    return fail(err, INVALID, "the target of a request is no path");
}

static enum status parse_request_line(struct http_head *head, struct slice line, struct error *err)
{
    size_t len = token_len(line.data, line.len);

    head->method = (struct slice){line.data, len};
    if (len == 0 || len == line.len || line.data[len] != ' ')
        return fail(err, INVALID, "the request line does not begin with a method");
    line.data += len + 1;
    line.len -= len + 1;
    for (len = 0; len < line.len && line.data[len] > ' ' && line.data[len] < 0x7f;)
        len++; /* visible ASCII; anything else has to be percent-encoded */
    head->target = (struct slice){line.data, len};
    if (len == 0 || len == line.len || line.data[len] != ' ')
        return fail(err, INVALID, "the request line has no proper target");
    line.data += len + 1;
    line.len -= len + 1;
    if (line.len != strlen("HTTP/1.1") || memcmp(line.data, "HTTP/1.", 7) != 0 ||
        line.data[7] < '0' || line.data[7] > '9')
        return fail(err, INVALID, "the request is not HTTP/1.x");
    head->minor_version = line.data[7] - '0';
    return split_target(head, err);
}

/* An old folded line begins with a blank and fails here: its name is empty. */
static enum status parse_header(struct http_head *head, struct slice line, struct error *err)
{
    size_t len = token_len(line.data, line.len);
    struct http_header *header;

    if (len == 0 || len == line.len || line.data[len] != ':')
        return fail(err, INVALID, "a header line is not \"name: value\"");
    if (head->header_count == HTTP_MAX_HEADERS)
        return fail(err, LIMIT, "more than %d headers", (int)HTTP_MAX_HEADERS);
    header = &head->headers[head->header_count++];
    header->name = (struct slice){line.data, len};
    header->value = trim((struct slice){line.data + len + 1, line.len - len - 1});
    return OK;
}

/* A request line that is not complete: could it become one? */
static enum status check_beginning(struct slice line, struct error *err)
{
    size_t len = token_len(line.data, line.len);

    if (len < line.len && (len == 0 || line.data[len] != ' '))
        return fail(err, INVALID, "the request line does not begin with a method");
    return UNAVAILABLE;
}

static enum status parse_lines(const char *data, size_t len, struct http_head *head,
                               struct error *err)
{
    size_t at = 0;

    for (bool is_first = true;; is_first = false) {
        struct slice line;
        enum status st = next_line(data + at, len - at, &line, err);

        if (st == UNAVAILABLE)
            return is_first ? check_beginning(line, err) : UNAVAILABLE;
        if (st)
            return st;
        at += line.len + 2;
        if (line.len == 0 && !is_first) {
            head->size = at;
            return OK;
        }
        st = is_first ? parse_request_line(head, line, err) : parse_header(head, line, err);
        if (st)
            return st;
    }
}

enum status http_head_parse(const char *data, size_t len, struct http_head *head, struct error *err)
{
    enum status st;

    head->query = (struct slice){0};
    head->header_count = 0;
    st = len ? parse_lines(data, len, head, err) : UNAVAILABLE;
    if (st == UNAVAILABLE)
        return fail(err, UNAVAILABLE, "the head of the request is not complete");
    return st;
}

/* ---- headers ---- */

const struct http_header *http_head_find(const struct http_head *head, const char *name)
{
    for (size_t i = head->header_count; i-- > 0;) {
        if (slice_is_nocase(head->headers[i].name, name))
            return &head->headers[i];
    }
    return NULL;
}

size_t http_head_count(const struct http_head *head, const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < head->header_count; i++)
        count += slice_is_nocase(head->headers[i].name, name);
    return count;
}

static bool list_has(struct slice list, const char *token)
{
    while (list.len) {
        const char *comma = memchr(list.data, ',', list.len);
        size_t len = comma ? (size_t)(comma - list.data) : list.len;

        if (slice_is_nocase(trim((struct slice){list.data, len}), token))
            return true;
        len += comma ? 1 : 0;
        list.data += len;
        list.len -= len;
    }
    return false;
}

bool http_head_has_token(const struct http_head *head, const char *name, const char *token)
{
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];

        if (slice_is_nocase(header->name, name) && list_has(header->value, token))
            return true;
    }
    return false;
}

/* ---- URLs ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

bool url_is_unreserved(char c)
{
    /* A bit for each character of ASCII. */
    static const uint64_t unreserved[] = {0x03ff600000000000, 0x47fffffe87fffffe};
    unsigned char at = (unsigned char)c;

    return at < 128 && (unreserved[at >> 6] >> (at & 63) & 1);
}

/* Without printf, and runs of what stays at once: signatures are made of this, thousands a second.
 */
void url_encode(struct buf *out, struct slice s, bool keeps_slashes)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.len; i++) {
        size_t begin = i;
        unsigned char c;

        while (i < s.len && (url_is_unreserved(s.data[i]) || (keeps_slashes && s.data[i] == '/')))
            i++;
        if (i > begin)
            buf_add(out, s.data + begin, i - begin);
        if (i == s.len)
            break;
        c = (unsigned char)s.data[i];
        buf_add(out, (const char[]){'%', digits[c >> 4], digits[c & 0xf]}, 3);
    }
}

long url_decode(struct slice s, bool plus_is_space, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];

        if (c == '%') {
            int high = i + 2 < s.len ? hex_digit(s.data[i + 1]) : -1;
            int low = i + 2 < s.len ? hex_digit(s.data[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -1;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0')
            return -1;
        out[n++] = c;
    }
    out[n] = '\0';
    return (long)n;
}

void query_decode(struct slice s, struct buf *out)
{
    char *at = buf_reserve(out, s.len);
    long len;

    if (!at || s.len == 0)
        return;
    len = url_decode(s, true, at);
    if (len < 0)
        memcpy(at, s.data, s.len);
    buf_commit(out, len < 0 ? s.len : (size_t)len);
}

bool query_next(struct slice *rest, struct slice *name, struct slice *value)
{
    while (rest->len) {
        const char *end = memchr(rest->data, '&', rest->len);
        size_t len = end ? (size_t)(end - rest->data) : rest->len;
        struct slice pair = {rest->data, len};
        const char *equals;

        len += end ? 1 : 0;
        rest->data += len;
        rest->len -= len;
        if (pair.len == 0)
            continue; /* "a=1&&b=2" */
        equals = memchr(pair.data, '=', pair.len);
        *name = pair;
        *value = (struct slice){pair.data + pair.len, 0};
        if (equals) {
            name->len = (size_t)(equals - pair.data);
            *value = (struct slice){equals + 1, pair.len - name->len - 1};
        }
        return true;
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_head.h - the head of an HTTP/1.1 request, as a peer sent it (RFC 9112).
 *
 * The parser keeps slices into the caller's bytes: they live as long as those do.  It is strict:
 * no obsolete line folding, no bare CR or LF inside a line, no NUL, no blank before the colon.
 */
#pragma once

#include "buf.h"

struct slice {
    const char *data;
    size_t len;
};

enum { HTTP_MAX_HEADERS = 100 };

struct http_header {
    struct slice name;  /* as the client spelled it */
    struct slice value; /* without blanks around it */
};

struct http_head {
    struct slice method;
    struct slice target; /* path and query as sent */
    struct slice path;   /* raw, still percent-encoded */
    struct slice query;  /* raw, without '?'; data is NULL when there is none */
    int minor_version;   /* of HTTP/1.x */
    size_t header_count;
    struct http_header headers[HTTP_MAX_HEADERS];
    size_t size; /* bytes of the whole head, the empty line included */
};

/* OK and *head; UNAVAILABLE when the empty line has not come yet; INVALID when it is not HTTP/1.x
 * or breaks the rules above; LIMIT for more than HTTP_MAX_HEADERS. */
enum status http_head_parse(const char *data, size_t len, struct http_head *head,
                            struct error *err) MUST_USE;

/* The last header of that name (any case), or NULL. */
const struct http_header *http_head_find(const struct http_head *head, const char *name);
/* How many headers have that name. */
size_t http_head_count(const struct http_head *head, const char *name);
/* True when a comma-separated header has the token (any case), in any of its lines. */
bool http_head_has_token(const struct http_head *head, const char *name, const char *token);

bool slice_is(struct slice s, const char *text); /* exact */
bool slice_is_nocase(struct slice s, const char *text);
char *slice_dup(struct slice s) MUST_USE;

/* Percent-decodes into out (at least s.len + 1 bytes; NUL-terminated) and returns the length, or -1
 * for a broken escape or %00.  plus_is_space: as in query strings. */
long url_decode(struct slice s, bool plus_is_space, char *out) MUST_USE;

/* The same for a part of a query, added to out; what cannot be decoded is added as it was sent. */
void query_decode(struct slice s, struct buf *out);

/* True when it is one (RFC 9110, section 5.6.2): what names of headers are. */
bool http_is_token(struct slice s);

/* Letters, digits and -._~ (RFC 3986, section 2.3). */
bool url_is_unreserved(char c);
/* Adds the text percent-encoded: all but unreserved characters and, if so asked, slashes. */
void url_encode(struct buf *out, struct slice s, bool keeps_slashes);

/* Walks name=value pairs of a raw query: false at the end.  Slices are still encoded. */
bool query_next(struct slice *rest, struct slice *name, struct slice *value);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4_internal.h - what the files of signatures share.
 *
 * sigv4.c: the canonical request and the signature of it.  sigv4_sign.c: signing.  sigv4_verify.c:
 * reading a signature and checking it.
 *
 * What is short and runs for every request, or for every header of one, is inline.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "crypto.h"
#include "http_head.h"
#include "sigv4.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_TERMINATOR "aws4_request"

enum {
    SIGV4_HASH_BYTES = 32,
    SIGV4_HEX_BYTES = 2 * SIGV4_HASH_BYTES + 1,
    SIGV4_DAY_BYTES = 8, /* of a date: 20261121 */
    SIGV4_MAX_NAMES = 100,
    SIGV4_MAX_EXPIRES_S = 604800,
    SIGV4_SIGNATURE_LEN = 2 * SIGV4_HASH_BYTES,
    SIGV4_CANONICAL_BYTES = 1024 * 1024,
    SIGV4_FIRST_BYTES = 1024 /* enough for most, so that texts do not grow step by step */
};

/* ---- slices ---- */

static inline struct slice sigv4_slice_of(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static inline bool sigv4_slices_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Cuts *rest at the first separator: what is in front of it; *rest is what is behind, or has no
 * data when there was no separator. */
static inline struct slice sigv4_cut(struct slice *rest, char separator)
{
    const char *at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    struct slice front = *rest;

    if (at) {
        front.len = (size_t)(at - rest->data);
        *rest = (struct slice){at + 1, rest->len - front.len - 1};
    } else {
        *rest = (struct slice){NULL, 0};
    }
    return front;
}

static inline bool sigv4_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline struct slice sigv4_trim(struct slice s)
{
    while (s.len && sigv4_is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len && sigv4_is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* ---- sigv4.c ---- */

/* What signatures are made with; a signer keeps it. */
struct sigv4_tools {
    struct crypto_hasher *hasher;
    struct buf text;
};

void sigv4_tools_init(struct sigv4_tools *tools);
void sigv4_tools_done(struct sigv4_tools *tools);

/* The text to begin with, which is empty. */
static inline struct buf *sigv4_begin_text(struct sigv4_tools *tools)
{
    struct buf *text = &tools->text;

    buf_clear(text);
    if (!buf_reserve(text, SIGV4_FIRST_BYTES))
        abort(); /* the limit is larger */
    return text;
}

/* "date/region/service/aws4_request" behind the id of the key. */
struct sigv4_scope {
    struct slice key_id;
    struct slice day;
    struct slice region;
    struct slice service;
    struct slice terminator;
};

/* What is signed. */
struct sigv4_canonical {
    const struct sigv4_request *request;
    struct slice signed_headers; /* "host;x-amz-date" */
    bool is_presigned;
    bool encodes_path;
};

struct sigv4_key {
    unsigned char bytes[CRYPTO_HASH_BYTES_MOST]; /* SIGV4_HASH_BYTES of them */
};

/* What a day's signatures for a region and a service are made with. */
void sigv4_derive_key(struct sigv4_tools *tools, const char *secret,
                      const struct sigv4_scope *scope, struct sigv4_key *out);

static inline void sigv4_add_slice(struct buf *out, struct slice s)
{
    buf_add(out, s.data, s.len);
}

/* As it stands in a credential: without the id of the key. */
void sigv4_add_scope(struct buf *out, const struct sigv4_scope *scope);

/* The signature in hexadecimal digits; false when a signed header is not there, or there is too
 * much of something.  The tools' text is another one afterwards. */
bool sigv4_compute(const struct sigv4_canonical *canonical, struct sigv4_tools *tools,
                   const struct sigv4_key *key, struct slice date, const struct sigv4_scope *scope,
                   char out[SIGV4_HEX_BYTES]) MUST_USE;

/* "20261121T053200Z" */
void sigv4_write_date(int64_t now_s, char out[SIGV4_DATE_BYTES]);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4.c - AWS Signature Version 4 ("Create a signed AWS API request", IAM user guide): the
 * canonical request and the signature of it, for whoever signs and whoever checks.
 *
 * Everything here works on slices of the request.  What is built is at most a few times as long as
 * the head of the request, which its reader has bounded.
 */
#include "sigv4_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_PAIRS = 100 };

void sigv4_tools_init(struct sigv4_tools *tools)
{
    tools->hasher = crypto_hasher_create(CRYPTO_SHA256);
    buf_init(&tools->text, SIGV4_CANONICAL_BYTES);
}

void sigv4_tools_done(struct sigv4_tools *tools)
{
    crypto_hasher_free(tools->hasher);
    buf_done(&tools->text);
}

static void write_hex(const unsigned char hash[SIGV4_HASH_BYTES], char out[SIGV4_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;

    for (size_t i = 0; i < SIGV4_HASH_BYTES; i++) {
        *at++ = digits[hash[i] >> 4];
        *at++ = digits[hash[i] & 0xf];
    }
    *at = '\0';
}

/* ---- the canonical request ---- */

/* Decoded and encoded again, so that every spelling comes out the same; what cannot be decoded
 * stays as it is. */
static void add_normalized(struct buf *out, struct slice s)
{
    char *decoded = mem_alloc(s.len + 1);
    long len = url_decode(s, false, decoded);

    if (len < 0)
        buf_add(out, s.data, s.len);
    else
        url_encode(out, (struct slice){decoded, (size_t)len}, false);
    free(decoded);
}

static int compare_pairs(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "name=value" texts sorted by name, then value.  The separator sorts in front of everything that
 * may be in a name: '=' would not.  False when there are too many: none may be left out. */
static bool add_query(struct buf *out, const char *query, bool is_presigned)
{
    struct slice rest = sigv4_slice_of(query);
    char *pairs[MAX_PAIRS] = {NULL};
    struct slice name, value;
    size_t count = 0;

    while (count < MAX_PAIRS && query_next(&rest, &name, &value)) {
        struct buf pair;

        if (is_presigned && slice_is(name, "X-Amz-Signature"))
            continue;
        buf_init(&pair, SIGV4_CANONICAL_BYTES);
        add_normalized(&pair, name);
        buf_addc(&pair, '\x01');
        add_normalized(&pair, value);
        pairs[count++] = buf_take(&pair);
    }
    qsort(pairs, count, sizeof(pairs[0]), compare_pairs);
    for (size_t i = 0; i < count; i++) {
        *strchr(pairs[i], '\x01') = '=';
        buf_adds(out, i ? "&" : "");
        buf_adds(out, pairs[i]);
        free(pairs[i]);
    }
    return rest.len == 0;
}

/* Blanks around a value do not count, and several inside count as one. */
static void add_value(struct buf *out, struct slice value)
{
    value = sigv4_trim(value);
    while (value.len) {
        size_t len = 0;

        while (len < value.len && !sigv4_is_blank(value.data[len]))
            len++;
        buf_add(out, value.data, len);
        if (len < value.len)
            buf_addc(out, ' ');
        value = sigv4_trim((struct slice){value.data + len, value.len - len});
    }
}

/* False when there is no such header. */
static bool add_header(struct buf *out, const struct sigv4_request *request, struct slice name)
{
    size_t count = 0;

    buf_add(out, name.data, name.len);
    buf_addc(out, ':');
    for (size_t i = 0; i < request->header_count; i++) {
        if (slice_is_nocase(name, request->headers[i].name)) {
            buf_adds(out, count++ ? "," : "");
            add_value(out, sigv4_slice_of(request->headers[i].value));
        }
    }
    buf_addc(out, '\n');
    return count > 0;
}

/* The hash of the canonical request; false when a signed header is not there. */
static bool hash_canonical(const struct sigv4_canonical *canonical, struct sigv4_tools *tools,
                           char out[SIGV4_HEX_BYTES])
{
    const struct sigv4_request *request = canonical->request;
    struct slice names = canonical->signed_headers;
    struct buf *text = sigv4_begin_text(tools);
    unsigned char hash[CRYPTO_HASH_BYTES_MOST];
    bool is_complete;

    buf_adds(text, request->method);
    buf_addc(text, '\n');
    if (canonical->encodes_path)
        url_encode(text, sigv4_slice_of(request->path), true);
    else
        buf_adds(text, request->path);
    buf_addc(text, '\n');
    is_complete = add_query(text, request->query, canonical->is_presigned);
    buf_addc(text, '\n');
    for (size_t i = 0; names.data && i < SIGV4_MAX_NAMES; i++)
        is_complete = add_header(text, request, sigv4_cut(&names, ';')) && is_complete;
    buf_addc(text, '\n');
    buf_add(text, canonical->signed_headers.data, canonical->signed_headers.len);
    buf_addc(text, '\n');
    crypto_hasher_digest(tools->hasher, request->body ? request->body : "", request->body_len,
                         hash);
    write_hex(hash, out);
    buf_add(text, out, SIGV4_SIGNATURE_LEN);
    crypto_hasher_digest(tools->hasher, text->data, text->len, hash);
    write_hex(hash, out);
    return is_complete && !buf_full(text) && !names.data;
}

/* ---- the signature ---- */

static void mac(struct sigv4_tools *tools, const unsigned char key[SIGV4_HASH_BYTES],
                struct slice data, unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    crypto_hasher_hmac(tools->hasher, key, SIGV4_HASH_BYTES, data.data, data.len, out);
}

void sigv4_derive_key(struct sigv4_tools *tools, const char *secret,
                      const struct sigv4_scope *scope, struct sigv4_key *out)
{
    unsigned char a[CRYPTO_HASH_BYTES_MOST], b[CRYPTO_HASH_BYTES_MOST];
    struct buf first;

    buf_init(&first, SIZE_MAX);
    buf_addf(&first, "AWS4%s", secret);
    crypto_hasher_hmac(tools->hasher, first.data, first.len, scope->day.data, scope->day.len, a);
    buf_done(&first);
    mac(tools, a, scope->region, b);
    mac(tools, b, scope->service, a);
    mac(tools, a, sigv4_slice_of(SIGV4_TERMINATOR), out->bytes);
}

void sigv4_add_scope(struct buf *out, const struct sigv4_scope *scope)
{
    sigv4_add_slice(out, scope->day);
    buf_addc(out, '/');
    sigv4_add_slice(out, scope->region);
    buf_addc(out, '/');
    sigv4_add_slice(out, scope->service);
    buf_adds(out, "/" SIGV4_TERMINATOR);
}

bool sigv4_compute(const struct sigv4_canonical *canonical, struct sigv4_tools *tools,
                   const struct sigv4_key *key, struct slice date, const struct sigv4_scope *scope,
                   char out[SIGV4_HEX_BYTES])
{
    unsigned char signature[CRYPTO_HASH_BYTES_MOST];
    char hash[SIGV4_HEX_BYTES];
    struct buf *text;

    if (!hash_canonical(canonical, tools, hash))
        return false;
    text = sigv4_begin_text(tools);
    buf_adds(text, SIGV4_ALGORITHM "\n");
    sigv4_add_slice(text, date);
    buf_addc(text, '\n');
    sigv4_add_scope(text, scope);
    buf_addc(text, '\n');
    buf_add(text, hash, SIGV4_SIGNATURE_LEN);
    mac(tools, key->bytes, (struct slice){text->data, text->len}, signature);
    write_hex(signature, out);
    return true;
}

void sigv4_write_date(int64_t now_s, char out[SIGV4_DATE_BYTES])
{
    time_t seconds = (time_t)now_s;
    struct tm utc;

    gmtime_r(&seconds, &utc);
    strftime(out, SIGV4_DATE_BYTES, "%Y%m%dT%H%M%SZ", &utc);
}

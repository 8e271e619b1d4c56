/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4.c - AWS Signature Version 4 ("Create a signed AWS API request", IAM user guide).
 *
 * Everything here works on slices of the request.  What is built is at most a few times as long as
 * the head of the request, which its reader has bounded.
 */
#include "sigv4.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "crypto.h"
#include "http_head.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define TERMINATOR "aws4_request"

enum {
    HASH_BYTES = 32,
    HEX_BYTES = 2 * HASH_BYTES + 1,
    DAY_BYTES = 8, /* of a date: 20261121 */
    MAX_NAMES = 100,
    MAX_PAIRS = 100,
    SKEW_S = 300,
    MAX_EXPIRES_S = 604800,
    SIGNATURE_LEN = 2 * HASH_BYTES,
    CANONICAL_BYTES = 1024 * 1024,
    FIRST_BYTES = 1024, /* enough for most, so that texts do not grow step by step */
    EPOCH_YEAR = 1900
};

/* "date/region/service/aws4_request" behind the id of the key. */
struct scope {
    struct slice key_id;
    struct slice day;
    struct slice region;
    struct slice service;
    struct slice terminator;
};

/* A signature as the request has it; values from the query are decoded into `decoded`. */
struct claim {
    bool is_query;
    struct slice credential;
    struct slice signed_headers;
    struct slice signature;
    struct slice date;
    struct slice expires; /* query only */
    struct scope scope;
    struct buf decoded;
};

/* ---- slices ---- */

static struct slice slice_of(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static bool slices_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Cuts *rest at the first separator: what is in front of it; *rest is what is behind, or has no
 * data when there was no separator. */
static struct slice cut(struct slice *rest, char separator)
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

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
    while (s.len && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* What signatures are made with; a signer keeps it. */
struct tools {
    struct crypto_hasher *hasher;
    struct buf text;
};

static void tools_init(struct tools *tools)
{
    tools->hasher = crypto_hasher_create(CRYPTO_SHA256);
    buf_init(&tools->text, CANONICAL_BYTES);
}

static void tools_done(struct tools *tools)
{
    crypto_hasher_free(tools->hasher);
    buf_done(&tools->text);
}

/* The text to begin with, which is empty. */
static struct buf *begin_text(struct tools *tools)
{
    struct buf *text = &tools->text;

    buf_clear(text);
    if (!buf_reserve(text, FIRST_BYTES))
        abort(); /* the limit is larger */
    return text;
}

static void write_hex(const unsigned char hash[HASH_BYTES], char out[HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;

    for (size_t i = 0; i < HASH_BYTES; i++) {
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
    struct slice rest = slice_of(query);
    char *pairs[MAX_PAIRS] = {NULL};
    struct slice name, value;
    size_t count = 0;

    while (count < MAX_PAIRS && query_next(&rest, &name, &value)) {
        struct buf pair;

        if (is_presigned && slice_is(name, "X-Amz-Signature"))
            continue;
        buf_init(&pair, CANONICAL_BYTES);
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
    value = trim(value);
    while (value.len) {
        size_t len = 0;

        while (len < value.len && !is_blank(value.data[len]))
            len++;
        buf_add(out, value.data, len);
        if (len < value.len)
            buf_addc(out, ' ');
        value = trim((struct slice){value.data + len, value.len - len});
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
            add_value(out, slice_of(request->headers[i].value));
        }
    }
    buf_addc(out, '\n');
    return count > 0;
}

struct canonical {
    const struct sigv4_request *request;
    struct slice signed_headers; /* "host;x-amz-date" */
    bool is_presigned;
    bool encodes_path;
};

/* The hash of the canonical request; false when a signed header is not there. */
static bool hash_canonical(const struct canonical *canonical, struct tools *tools,
                           char out[HEX_BYTES])
{
    const struct sigv4_request *request = canonical->request;
    struct slice names = canonical->signed_headers;
    struct buf *text = begin_text(tools);
    unsigned char hash[CRYPTO_HASH_BYTES_MOST];
    bool is_complete;

    buf_adds(text, request->method);
    buf_addc(text, '\n');
    if (canonical->encodes_path)
        url_encode(text, slice_of(request->path), true);
    else
        buf_adds(text, request->path);
    buf_addc(text, '\n');
    is_complete = add_query(text, request->query, canonical->is_presigned);
    buf_addc(text, '\n');
    for (size_t i = 0; names.data && i < MAX_NAMES; i++)
        is_complete = add_header(text, request, cut(&names, ';')) && is_complete;
    buf_addc(text, '\n');
    buf_add(text, canonical->signed_headers.data, canonical->signed_headers.len);
    buf_addc(text, '\n');
    crypto_hasher_digest(tools->hasher, request->body ? request->body : "", request->body_len,
                         hash);
    write_hex(hash, out);
    buf_add(text, out, SIGNATURE_LEN);
    crypto_hasher_digest(tools->hasher, text->data, text->len, hash);
    write_hex(hash, out);
    return is_complete && !buf_full(text) && !names.data;
}

/* ---- the signature ---- */

static void mac(struct tools *tools, const unsigned char key[HASH_BYTES], struct slice data,
                unsigned char out[CRYPTO_HASH_BYTES_MOST])
{
    crypto_hasher_hmac(tools->hasher, key, HASH_BYTES, data.data, data.len, out);
}

struct key {
    unsigned char bytes[CRYPTO_HASH_BYTES_MOST]; /* HASH_BYTES of them */
};

static void derive_key(struct tools *tools, const char *secret, const struct scope *scope,
                       struct key *out)
{
    unsigned char a[CRYPTO_HASH_BYTES_MOST], b[CRYPTO_HASH_BYTES_MOST];
    struct buf first;

    buf_init(&first, SIZE_MAX);
    buf_addf(&first, "AWS4%s", secret);
    crypto_hasher_hmac(tools->hasher, first.data, first.len, scope->day.data, scope->day.len, a);
    buf_done(&first);
    mac(tools, a, scope->region, b);
    mac(tools, b, scope->service, a);
    mac(tools, a, slice_of(TERMINATOR), out->bytes);
}

static void add_slice(struct buf *out, struct slice s)
{
    buf_add(out, s.data, s.len);
}

static void add_scope(struct buf *out, const struct scope *scope)
{
    add_slice(out, scope->day);
    buf_addc(out, '/');
    add_slice(out, scope->region);
    buf_addc(out, '/');
    add_slice(out, scope->service);
    buf_adds(out, "/" TERMINATOR);
}

static bool compute(const struct canonical *canonical, struct tools *tools, const struct key *key,
                    struct slice date, const struct scope *scope, char out[HEX_BYTES])
{
    unsigned char signature[CRYPTO_HASH_BYTES_MOST];
    char hash[HEX_BYTES];
    struct buf *text;

    if (!hash_canonical(canonical, tools, hash))
        return false;
    text = begin_text(tools);
    buf_adds(text, ALGORITHM "\n");
    add_slice(text, date);
    buf_addc(text, '\n');
    add_scope(text, scope);
    buf_addc(text, '\n');
    buf_add(text, hash, SIGNATURE_LEN);
    mac(tools, key->bytes, (struct slice){text->data, text->len}, signature);
    write_hex(signature, out);
    return true;
}

/* ---- signing ---- */

static void write_date(int64_t now_s, char out[SIGV4_DATE_BYTES])
{
    time_t seconds = (time_t)now_s;
    struct tm utc;

    gmtime_r(&seconds, &utc);
    strftime(out, SIGV4_DATE_BYTES, "%Y%m%dT%H%M%SZ", &utc);
}

static char to_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of a signer's own requests are like that. */
static bool is_in_order(const struct sigv4_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const char *name = request->headers[i].name;

        if (i > 0 && strcmp(request->headers[i - 1].name, name) >= 0)
            return false;
        for (; *name; name++)
            if (to_lower(*name) != *name)
                return false;
    }
    return true;
}

static void sort_names(const struct sigv4_request *request, struct buf *out)
{
    char *names[MAX_NAMES] = {NULL};
    size_t count = 0;

    for (size_t i = 0; i < request->header_count && count < MAX_NAMES; i++) {
        names[count] = mem_strdup(request->headers[i].name);
        for (char *c = names[count]; *c; c++)
            *c = to_lower(*c);
        count++;
    }
    qsort(names, count, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            buf_addf(out, "%s%s", i ? ";" : "", names[i]);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
}

/* "host;x-amz-date": each name once, in lower case and in order. */
static void list_names(const struct sigv4_request *request, struct buf *out)
{
    if (!is_in_order(request)) {
        sort_names(request, out);
        return;
    }
    for (size_t i = 0; i < request->header_count && i < MAX_NAMES; i++) {
        buf_adds(out, i ? ";" : "");
        buf_adds(out, request->headers[i].name);
    }
}

struct sigv4_signer {
    const struct sigv4_credentials *credentials;
    const char *service;
    struct tools tools;
    struct buf names;
    int64_t date_s; /* that the date is for; INT64_MIN: none yet */
    char date[SIGV4_DATE_BYTES];
    struct key key;
    char day[DAY_BYTES]; /* that the key is for; zeros: none yet */
    char region[SIGV4_REGION_BYTES];
};

static void signer_init(struct sigv4_signer *signer, const struct sigv4_credentials *credentials,
                        const char *service)
{
    *signer =
        (struct sigv4_signer){.credentials = credentials, .service = service, .date_s = INT64_MIN};
    tools_init(&signer->tools);
    buf_init(&signer->names, CANONICAL_BYTES);
}

static void signer_done(struct sigv4_signer *signer)
{
    tools_done(&signer->tools);
    buf_done(&signer->names);
    explicit_bzero(&signer->key, sizeof(signer->key));
}

static void renew_date(struct sigv4_signer *signer, int64_t now_s)
{
    if (signer->date_s == now_s)
        return;
    write_date(now_s, signer->date);
    signer->date_s = now_s;
}

static void renew_key(struct sigv4_signer *signer, const struct scope *scope)
{
    if (slices_equal(scope->day, (struct slice){signer->day, DAY_BYTES}) &&
        slice_is(scope->region, signer->region))
        return;
    derive_key(&signer->tools, signer->credentials->secret_access_key, scope, &signer->key);
    memcpy(signer->day, scope->day.data, DAY_BYTES);
    memcpy(signer->region, scope->region.data, scope->region.len + 1);
}

static enum status write_authorization(struct sigv4_signer *signer,
                                       const struct canonical *canonical, const struct scope *scope,
                                       struct sigv4_signature *out)
{
    char signature[HEX_BYTES];
    struct buf *text;

    renew_key(signer, scope);
    if (!compute(canonical, &signer->tools, &signer->key, slice_of(out->date), scope, signature))
        return INVALID;
    text = begin_text(&signer->tools);
    buf_adds(text, ALGORITHM " Credential=");
    buf_adds(text, signer->credentials->access_key_id);
    buf_addc(text, '/');
    add_scope(text, scope);
    buf_adds(text, ", SignedHeaders=");
    add_slice(text, canonical->signed_headers);
    buf_adds(text, ", Signature=");
    buf_add(text, signature, SIGNATURE_LEN);
    if (buf_full(text) || text->len >= sizeof(out->authorization))
        return INVALID;
    memcpy(out->authorization, buf_str(text), text->len + 1);
    return OK;
}

enum status sigv4_signer_sign(struct sigv4_signer *signer, const struct sigv4_request *request,
                              const char *region, int64_t now_s, struct sigv4_signature *out)
{
    struct sigv4_header headers[MAX_NAMES];
    struct sigv4_request signed_request = *request;
    struct canonical canonical = {.request = &signed_request, .encodes_path = true};
    struct scope scope = {.region = slice_of(region), .service = slice_of(signer->service)};
    const char *token = signer->credentials->session_token;
    size_t count = request->header_count;

    if (count > MAX_NAMES - 2 || scope.region.len >= SIGV4_REGION_BYTES)
        return INVALID;
    renew_date(signer, now_s);
    memcpy(out->date, signer->date, sizeof(out->date));
    out->session_token = token && *token ? token : NULL;
    if (count)
        memcpy(headers, request->headers, count * sizeof(headers[0]));
    headers[count++] = (struct sigv4_header){"x-amz-date", out->date};
    if (out->session_token)
        headers[count++] = (struct sigv4_header){"x-amz-security-token", token};
    signed_request.headers = headers;
    signed_request.header_count = count;
    scope.day = (struct slice){out->date, DAY_BYTES};
    buf_clear(&signer->names);
    list_names(&signed_request, &signer->names);
    canonical.signed_headers = (struct slice){signer->names.data, signer->names.len};
    return write_authorization(signer, &canonical, &scope, out);
}

struct sigv4_signer *sigv4_signer_create(const struct sigv4_credentials *credentials,
                                         const char *service)
{
    struct sigv4_signer *signer = mem_alloc(sizeof(*signer));

    signer_init(signer, credentials, service);
    return signer;
}

void sigv4_signer_free(struct sigv4_signer *signer)
{
    if (!signer)
        return;
    signer_done(signer);
    free(signer);
}

enum status sigv4_sign(const struct sigv4_request *request,
                       const struct sigv4_credentials *credentials, const char *region,
                       const char *service, int64_t now_s, struct sigv4_signature *out)
{
    struct sigv4_signer signer;
    enum status st;

    signer_init(&signer, credentials, service);
    st = sigv4_signer_sign(&signer, request, region, now_s, out);
    signer_done(&signer);
    return st;
}

/* The order is botocore's. */
static void write_parameters(const struct sigv4_credentials *credentials,
                             const struct sigv4_presigning *how, const char *date,
                             struct slice signed_headers, struct buf *query)
{
    const char *token = credentials->session_token;
    struct buf credential;

    buf_init(&credential, CANONICAL_BYTES);
    buf_addf(&credential, "%s/%.*s/%s/%s/" TERMINATOR, credentials->access_key_id, DAY_BYTES, date,
             how->region, how->service);
    buf_adds(query, "X-Amz-Algorithm=" ALGORITHM "&X-Amz-Credential=");
    url_encode(query, slice_of(buf_str(&credential)), false);
    buf_addf(query, "&X-Amz-Date=%s&X-Amz-Expires=%" PRId64 "&X-Amz-SignedHeaders=", date,
             how->expires_s);
    url_encode(query, signed_headers, false);
    if (token && *token) {
        buf_adds(query, "&X-Amz-Security-Token=");
        url_encode(query, slice_of(token), false);
    }
    buf_done(&credential);
}

enum status sigv4_presign(const struct sigv4_request *request,
                          const struct sigv4_credentials *credentials,
                          const struct sigv4_presigning *how, struct buf *query)
{
    struct sigv4_request signed_request = *request;
    struct canonical canonical = {
        .request = &signed_request, .is_presigned = true, .encodes_path = true};
    struct scope scope = {.region = slice_of(how->region), .service = slice_of(how->service)};
    char date[SIGV4_DATE_BYTES], signature[HEX_BYTES];
    size_t start = query->len;
    struct tools tools;
    struct buf names;
    struct key key;
    bool is_signed;

    if (how->expires_s < 1 || how->expires_s > MAX_EXPIRES_S)
        return INVALID;
    write_date(how->now_s, date);
    scope.day = (struct slice){date, DAY_BYTES};
    tools_init(&tools);
    buf_init(&names, CANONICAL_BYTES);
    list_names(request, &names);
    canonical.signed_headers = (struct slice){names.data, names.len};
    if (request->query && *request->query)
        buf_addf(query, "%s&", request->query);
    write_parameters(credentials, how, date, canonical.signed_headers, query);
    signed_request.query = buf_str(query) + start;
    derive_key(&tools, credentials->secret_access_key, &scope, &key);
    is_signed =
        !buf_full(query) && compute(&canonical, &tools, &key, slice_of(date), &scope, signature);
    if (is_signed)
        buf_addf(query, "&X-Amz-Signature=%s", signature);
    explicit_bzero(&key, sizeof(key));
    tools_done(&tools);
    buf_done(&names);
    return is_signed && !buf_full(query) ? OK : INVALID;
}

/* ---- reading a signature ---- */

/* The only header of that name; no data when there is none or more than one. */
static struct slice only_header(const struct sigv4_request *request, const char *name)
{
    struct slice found = {NULL, 0};
    size_t count = 0;

    for (size_t i = 0; i < request->header_count; i++) {
        if (slice_is_nocase(slice_of(request->headers[i].name), name)) {
            found = slice_of(request->headers[i].value);
            count++;
        }
    }
    return count == 1 ? found : (struct slice){NULL, 0};
}

static bool has_header(const struct sigv4_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (slice_is_nocase(slice_of(request->headers[i].name), name))
            return true;
    return false;
}

static bool find_parameter(const struct sigv4_request *request, const char *wanted,
                           struct slice *out)
{
    struct slice rest = slice_of(request->query);
    struct slice name, value;

    while (query_next(&rest, &name, &value)) {
        if (slice_is(name, wanted)) {
            *out = value;
            return true;
        }
    }
    return false;
}

bool sigv4_is_signed(const struct sigv4_request *request)
{
    struct slice ignored;

    return has_header(request, "Authorization") ||
           find_parameter(request, "X-Amz-Signature", &ignored);
}

/* "Credential=..., SignedHeaders=..., Signature=..." in any order. */
static void read_parts(struct slice rest, struct claim *claim)
{
    while (rest.data) {
        struct slice value = trim(cut(&rest, ','));
        struct slice name = cut(&value, '=');

        if (!value.data)
            continue;
        if (slice_is(name, "Credential"))
            claim->credential = value;
        else if (slice_is(name, "SignedHeaders"))
            claim->signed_headers = value;
        else if (slice_is(name, "Signature"))
            claim->signature = value;
    }
}

static bool is_our_algorithm(struct slice authorization)
{
    size_t len = strlen(ALGORITHM);

    return authorization.len > len && memcmp(authorization.data, ALGORITHM, len) == 0 &&
           is_blank(authorization.data[len]);
}

/* Says what is not there, as API Gateway does. */
static enum sigv4_result check_parts(const struct claim *claim, struct error *err)
{
    struct buf text;

    buf_init(&text, ERROR_TEXT_BYTES);
    if (!claim->credential.len)
        buf_adds(&text, "Authorization header requires 'Credential' parameter. ");
    if (!claim->signature.len)
        buf_adds(&text, "Authorization header requires 'Signature' parameter. ");
    if (!claim->signed_headers.len)
        buf_adds(&text, "Authorization header requires 'SignedHeaders' parameter. ");
    if (!claim->date.len)
        buf_adds(&text, "Authorization header requires existence of either a 'X-Amz-Date' or a "
                        "'Date' header. ");
    if (text.len)
        fail(err, INVALID, "%.*s", (int)text.len - 1, buf_str(&text));
    buf_done(&text);
    return claim->credential.len && claim->signature.len && claim->signed_headers.len &&
                   claim->date.len
               ? SIGV4_GOOD
               : SIGV4_INCOMPLETE;
}

static enum sigv4_result read_header(const struct sigv4_request *request, struct claim *claim,
                                     struct error *err)
{
    struct slice authorization = trim(only_header(request, "Authorization"));
    size_t len = strlen(ALGORITHM);

    if (!is_our_algorithm(authorization)) {
        fail(err, INVALID, "Authorization header requires the algorithm " ALGORITHM);
        return SIGV4_INCOMPLETE;
    }
    read_parts((struct slice){authorization.data + len, authorization.len - len}, claim);
    claim->date = trim(only_header(request, "X-Amz-Date"));
    if (!claim->date.len)
        claim->date = trim(only_header(request, "Date"));
    return check_parts(claim, err);
}

/* The values stay in claim->decoded, one behind the other; its limit is what they need at most, so
 * they do not move. */
static struct slice decode_parameter(const struct sigv4_request *request, const char *name,
                                     struct claim *claim)
{
    struct slice raw, decoded = {NULL, 0};
    char *to;
    long len;

    if (!find_parameter(request, name, &raw))
        return decoded;
    to = claim->decoded.data + claim->decoded.len;
    len = url_decode(raw, false, to);
    if (len < 0)
        return decoded;
    claim->decoded.len += (size_t)len + 1;
    return (struct slice){to, (size_t)len};
}

static enum sigv4_result read_query(const struct sigv4_request *request, struct claim *claim,
                                    struct error *err)
{
    size_t room = strlen(request->query) + 8; /* a NUL behind each of the six */
    struct slice algorithm;

    claim->is_query = true;
    buf_init(&claim->decoded, room);
    if (!buf_reserve(&claim->decoded, room))
        return SIGV4_INCOMPLETE;
    algorithm = decode_parameter(request, "X-Amz-Algorithm", claim);
    claim->credential = decode_parameter(request, "X-Amz-Credential", claim);
    claim->date = decode_parameter(request, "X-Amz-Date", claim);
    claim->expires = decode_parameter(request, "X-Amz-Expires", claim);
    claim->signed_headers = decode_parameter(request, "X-Amz-SignedHeaders", claim);
    claim->signature = decode_parameter(request, "X-Amz-Signature", claim);
    if (slice_is(algorithm, ALGORITHM) && claim->credential.len && claim->date.len &&
        claim->expires.len && claim->signed_headers.len && claim->signature.len)
        return SIGV4_GOOD;
    fail(err, INVALID,
         "AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', "
         "'X-Amz-Signature', 'X-Amz-SignedHeaders', 'X-Amz-Date' and 'X-Amz-Expires'");
    return SIGV4_INCOMPLETE;
}

/* The id may have slashes in it, for all we know: the scope is cut off from the end. */
static bool split_scope(struct slice credential, struct scope *out)
{
    struct slice *const parts[] = {&out->terminator, &out->service, &out->region, &out->day};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const char *slash = credential.len ? memrchr(credential.data, '/', credential.len) : NULL;
        size_t at;

        if (!slash)
            return false;
        at = (size_t)(slash - credential.data);
        *parts[i] = (struct slice){slash + 1, credential.len - at - 1};
        credential.len = at;
    }
    out->key_id = credential;
    return credential.len && out->region.len && out->day.len == DAY_BYTES;
}

static enum sigv4_result read_claim(const struct sigv4_request *request, struct claim *claim,
                                    struct error *err)
{
    enum sigv4_result result;

    if (!sigv4_is_signed(request)) {
        fail(err, DENIED, "Missing Authentication Token");
        return SIGV4_MISSING;
    }
    result = has_header(request, "Authorization") ? read_header(request, claim, err)
                                                  : read_query(request, claim, err);
    if (result != SIGV4_GOOD || split_scope(claim->credential, &claim->scope))
        return result;
    fail(err, INVALID,
         "Credential must have exactly 5 slash-delimited elements: "
         "keyid/date/region/service/term");
    return SIGV4_INCOMPLETE;
}

void sigv4_region(const struct sigv4_request *request, char out[SIGV4_REGION_BYTES])
{
    struct claim claim = {0};

    out[0] = '\0';
    if (read_claim(request, &claim, NULL) == SIGV4_GOOD &&
        claim.scope.region.len < SIGV4_REGION_BYTES) {
        for (size_t i = 0; i < claim.scope.region.len; i++) {
            if (!url_is_unreserved(claim.scope.region.data[i]))
                claim.scope.region.len = 0;
        }
        memcpy(out, claim.scope.region.data, claim.scope.region.len);
        out[claim.scope.region.len] = '\0';
    }
    buf_done(&claim.decoded);
}

/* ---- checking it ---- */

static int two_digits(const char *at)
{
    return (at[0] - '0') * 10 + (at[1] - '0');
}

/* "20261121T053200Z"; false when it is no such time. */
static bool read_date(struct slice date, int64_t *out)
{
    static const char pattern[] = "ddddddddTddddddZ";
    struct tm utc = {0};

    if (date.len != sizeof(pattern) - 1)
        return false;
    for (size_t i = 0; i < date.len; i++) {
        bool is_digit = date.data[i] >= '0' && date.data[i] <= '9';

        if (pattern[i] == 'd' ? !is_digit : date.data[i] != pattern[i])
            return false;
    }
    utc.tm_year = two_digits(date.data) * 100 + two_digits(date.data + 2) - EPOCH_YEAR;
    utc.tm_mon = two_digits(date.data + 4) - 1;
    utc.tm_mday = two_digits(date.data + 6);
    utc.tm_hour = two_digits(date.data + 9);
    utc.tm_min = two_digits(date.data + 11);
    utc.tm_sec = two_digits(date.data + 13);
    *out = timegm(&utc);
    return true;
}

/* -1 when it is no number of seconds that is allowed. */
static int64_t read_expires(struct slice expires)
{
    int64_t seconds = 0;

    for (size_t i = 0; i < expires.len; i++) {
        if (i > 6 || expires.data[i] < '0' || expires.data[i] > '9')
            return -1;
        seconds = seconds * 10 + (expires.data[i] - '0');
    }
    return seconds >= 1 && seconds <= MAX_EXPIRES_S ? seconds : -1;
}

static enum sigv4_result wrong_time(const struct claim *claim, int64_t limit_s, int64_t now_s,
                                    struct error *err)
{
    char limit[SIGV4_DATE_BYTES], now[SIGV4_DATE_BYTES];
    bool is_late = limit_s < now_s;

    write_date(limit_s, limit);
    write_date(now_s, now);
    fail(err, DENIED, "Signature %s: %.*s is %s %s (%s %s 5 min.)",
         is_late ? "expired" : "not yet current", (int)claim->date.len, claim->date.data,
         is_late ? "now earlier than" : "still later than", limit, now, is_late ? "-" : "+");
    return SIGV4_WRONG;
}

static enum sigv4_result check_time(const struct claim *claim, int64_t now_s, struct error *err)
{
    int64_t lifetime_s = SKEW_S;
    int64_t signed_s;

    if (!read_date(claim->date, &signed_s)) {
        fail(err, INVALID, "Date must be in ISO-8601 'basic format'. Got '%.*s'.",
             claim->date.len > 40 ? 40 : (int)claim->date.len, claim->date.data);
        return SIGV4_INCOMPLETE;
    }
    if (claim->is_query) {
        lifetime_s = read_expires(claim->expires);
        if (lifetime_s < 0) {
            fail(err, INVALID, "X-Amz-Expires must be a number of seconds from 1 to %d",
                 MAX_EXPIRES_S);
            return SIGV4_INCOMPLETE;
        }
    }
    if (signed_s > now_s + SKEW_S)
        return wrong_time(claim, now_s + SKEW_S, now_s, err);
    if (claim->is_query && signed_s + lifetime_s < now_s) {
        fail(err, DENIED, "Signature expired: the time of X-Amz-Expires is over");
        return SIGV4_WRONG;
    }
    if (!claim->is_query && signed_s + SKEW_S < now_s)
        return wrong_time(claim, now_s - SKEW_S, now_s, err);
    return SIGV4_GOOD;
}

static enum sigv4_result check_scope(const struct claim *claim, const char *service,
                                     struct error *err)
{
    const struct scope *scope = &claim->scope;

    if (!slice_is(scope->service, service)) {
        fail(err, DENIED, "Credential should be scoped to correct service: '%s'.", service);
        return SIGV4_WRONG;
    }
    if (!slice_is(scope->terminator, TERMINATOR)) {
        fail(err, DENIED, "Credential should be scoped with a valid terminator: '" TERMINATOR "'.");
        return SIGV4_WRONG;
    }
    if (!slices_equal(scope->day, (struct slice){claim->date.data, DAY_BYTES})) {
        fail(err, DENIED,
             "Date in Credential scope does not match YYYYMMDD from ISO-8601 version "
             "of date from HTTP");
        return SIGV4_WRONG;
    }
    return SIGV4_GOOD;
}

/* The host has to be signed: otherwise a request could be played to another server.  The time of
 * the header form too, or an old request would never become too old. */
static bool signs_enough(const struct claim *claim)
{
    struct slice rest = claim->signed_headers;
    bool has_host = false, has_date = claim->is_query;

    while (rest.data) {
        struct slice name = cut(&rest, ';');

        has_host = has_host || slice_is(name, "host");
        has_date = has_date || slice_is(name, "x-amz-date") || slice_is(name, "date");
    }
    return has_host && has_date;
}

static bool matches(const struct canonical *canonical, const struct claim *claim,
                    struct tools *tools, const struct key *key)
{
    char expected[HEX_BYTES];

    return compute(canonical, tools, key, claim->date, &claim->scope, expected) &&
           claim->signature.len == SIGNATURE_LEN &&
           crypto_is_equal(expected, claim->signature.data, SIGNATURE_LEN);
}

static enum sigv4_result check_signature(const struct sigv4_request *request,
                                         const struct claim *claim, const char *secret,
                                         struct error *err)
{
    struct canonical canonical = {.request = request,
                                  .signed_headers = claim->signed_headers,
                                  .is_presigned = claim->is_query,
                                  .encodes_path = true};
    struct tools tools;
    struct key key;
    bool is_good = false;

    if (signs_enough(claim)) {
        tools_init(&tools);
        derive_key(&tools, secret, &claim->scope, &key);
        is_good = matches(&canonical, claim, &tools, &key);
        canonical.encodes_path = false;
        is_good = is_good || matches(&canonical, claim, &tools, &key);
        tools_done(&tools);
    }
    if (is_good)
        return SIGV4_GOOD;
    fail(err, DENIED,
         "The request signature we calculated does not match the signature you provided. Check "
         "your AWS Secret Access Key and signing method. Consult the service documentation for "
         "details.");
    return SIGV4_WRONG;
}

static enum sigv4_result check_claim(const struct sigv4_request *request, const struct claim *claim,
                                     const struct sigv4_credentials *credentials,
                                     const char *service, int64_t now_s, struct error *err)
{
    enum sigv4_result result;

    if (!slice_is(claim->scope.key_id, credentials->access_key_id)) {
        fail(err, DENIED, "The security token included in the request is invalid.");
        return SIGV4_UNKNOWN_KEY;
    }
    result = check_time(claim, now_s, err);
    if (result == SIGV4_GOOD)
        result = check_scope(claim, service, err);
    if (result == SIGV4_GOOD)
        result = check_signature(request, claim, credentials->secret_access_key, err);
    return result;
}

enum sigv4_result sigv4_verify(const struct sigv4_request *request,
                               const struct sigv4_credentials *credentials, const char *service,
                               int64_t now_s, struct error *err)
{
    struct claim claim = {0};
    enum sigv4_result result = read_claim(request, &claim, err);

    if (result == SIGV4_GOOD)
        result = check_claim(request, &claim, credentials, service, now_s, err);
    buf_done(&claim.decoded);
    return result;
}

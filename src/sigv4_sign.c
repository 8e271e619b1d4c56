/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4_sign.c - signing requests: in headers, with a signer that keeps what signatures share, or
 * in the query of a URL.
 */
#include "sigv4_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the names of the headers ---- */

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
    char *names[SIGV4_MAX_NAMES] = {NULL};
    size_t count = 0;

    for (size_t i = 0; i < request->header_count && count < SIGV4_MAX_NAMES; i++) {
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
    for (size_t i = 0; i < request->header_count && i < SIGV4_MAX_NAMES; i++) {
        buf_adds(out, i ? ";" : "");
        buf_adds(out, request->headers[i].name);
    }
}

/* ---- a signer ---- */

struct sigv4_signer {
    const struct sigv4_credentials *credentials;
    const char *service;
    struct sigv4_tools tools;
    struct buf names;
    int64_t date_s; /* that the date is for; INT64_MIN: none yet */
    char date[SIGV4_DATE_BYTES];
    struct sigv4_key key;
    char day[SIGV4_DAY_BYTES]; /* that the key is for; zeros: none yet */
    char region[SIGV4_REGION_BYTES];
};

static void signer_init(struct sigv4_signer *signer, const struct sigv4_credentials *credentials,
                        const char *service)
{
    *signer =
        (struct sigv4_signer){.credentials = credentials, .service = service, .date_s = INT64_MIN};
    sigv4_tools_init(&signer->tools);
    buf_init(&signer->names, SIGV4_CANONICAL_BYTES);
}

static void signer_done(struct sigv4_signer *signer)
{
    sigv4_tools_done(&signer->tools);
    buf_done(&signer->names);
    explicit_bzero(&signer->key, sizeof(signer->key));
}

static void renew_date(struct sigv4_signer *signer, int64_t now_s)
{
    if (signer->date_s == now_s)
        return;
    sigv4_write_date(now_s, signer->date);
    signer->date_s = now_s;
}

static void renew_key(struct sigv4_signer *signer, const struct sigv4_scope *scope)
{
    if (sigv4_slices_equal(scope->day, (struct slice){signer->day, SIGV4_DAY_BYTES}) &&
        slice_is(scope->region, signer->region))
        return;
    sigv4_derive_key(&signer->tools, signer->credentials->secret_access_key, scope, &signer->key);
    memcpy(signer->day, scope->day.data, SIGV4_DAY_BYTES);
    memcpy(signer->region, scope->region.data, scope->region.len + 1);
}

static enum status write_authorization(struct sigv4_signer *signer,
                                       const struct sigv4_canonical *canonical,
                                       const struct sigv4_scope *scope, struct sigv4_signature *out)
{
    char signature[SIGV4_HEX_BYTES];
    struct buf *text;

    renew_key(signer, scope);
    if (!sigv4_compute(canonical, &signer->tools, &signer->key, sigv4_slice_of(out->date), scope,
                       signature))
        return INVALID;
    text = sigv4_begin_text(&signer->tools);
    buf_adds(text, SIGV4_ALGORITHM " Credential=");
    buf_adds(text, signer->credentials->access_key_id);
    buf_addc(text, '/');
    sigv4_add_scope(text, scope);
    buf_adds(text, ", SignedHeaders=");
    sigv4_add_slice(text, canonical->signed_headers);
    buf_adds(text, ", Signature=");
    buf_add(text, signature, SIGV4_SIGNATURE_LEN);
    if (buf_full(text) || text->len >= sizeof(out->authorization))
        return INVALID;
    memcpy(out->authorization, buf_str(text), text->len + 1);
    return OK;
}

enum status sigv4_signer_sign(struct sigv4_signer *signer, const struct sigv4_request *request,
                              const char *region, int64_t now_s, struct sigv4_signature *out)
{
    struct sigv4_header headers[SIGV4_MAX_NAMES];
    struct sigv4_request signed_request = *request;
    struct sigv4_canonical canonical = {.request = &signed_request, .encodes_path = true};
    struct sigv4_scope scope = {.region = sigv4_slice_of(region),
                                .service = sigv4_slice_of(signer->service)};
    const char *token = signer->credentials->session_token;
    size_t count = request->header_count;

    if (count > SIGV4_MAX_NAMES - 2 || scope.region.len >= SIGV4_REGION_BYTES)
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
    scope.day = (struct slice){out->date, SIGV4_DAY_BYTES};
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

/* ---- presigning ---- */

/* The order is botocore's. */
static void write_parameters(const struct sigv4_credentials *credentials,
                             const struct sigv4_presigning *how, const char *date,
                             struct slice signed_headers, struct buf *query)
{
    const char *token = credentials->session_token;
    struct buf credential;

    buf_init(&credential, SIGV4_CANONICAL_BYTES);
    buf_addf(&credential, "%s/%.*s/%s/%s/" SIGV4_TERMINATOR, credentials->access_key_id,
             SIGV4_DAY_BYTES, date, how->region, how->service);
    buf_adds(query, "X-Amz-Algorithm=" SIGV4_ALGORITHM "&X-Amz-Credential=");
    url_encode(query, sigv4_slice_of(buf_str(&credential)), false);
    buf_addf(query, "&X-Amz-Date=%s&X-Amz-Expires=%" PRId64 "&X-Amz-SignedHeaders=", date,
             how->expires_s);
    url_encode(query, signed_headers, false);
    if (token && *token) {
        buf_adds(query, "&X-Amz-Security-Token=");
        url_encode(query, sigv4_slice_of(token), false);
    }
    buf_done(&credential);
}

enum status sigv4_presign(const struct sigv4_request *request,
                          const struct sigv4_credentials *credentials,
                          const struct sigv4_presigning *how, struct buf *query)
{
    struct sigv4_request signed_request = *request;
    struct sigv4_canonical canonical = {
        .request = &signed_request, .is_presigned = true, .encodes_path = true};
    struct sigv4_scope scope = {.region = sigv4_slice_of(how->region),
                                .service = sigv4_slice_of(how->service)};
    char date[SIGV4_DATE_BYTES], signature[SIGV4_HEX_BYTES];
    size_t start = query->len;
    struct sigv4_tools tools;
    struct buf names;
    struct sigv4_key key;
    bool is_signed;

    if (how->expires_s < 1 || how->expires_s > SIGV4_MAX_EXPIRES_S)
        return INVALID;
    sigv4_write_date(how->now_s, date);
    scope.day = (struct slice){date, SIGV4_DAY_BYTES};
    sigv4_tools_init(&tools);
    buf_init(&names, SIGV4_CANONICAL_BYTES);
    list_names(request, &names);
    canonical.signed_headers = (struct slice){names.data, names.len};
    if (request->query && *request->query)
        buf_addf(query, "%s&", request->query);
    write_parameters(credentials, how, date, canonical.signed_headers, query);
    signed_request.query = buf_str(query) + start;
    sigv4_derive_key(&tools, credentials->secret_access_key, &scope, &key);
    is_signed = !buf_full(query) &&
                sigv4_compute(&canonical, &tools, &key, sigv4_slice_of(date), &scope, signature);
    if (is_signed)
        buf_addf(query, "&X-Amz-Signature=%s", signature);
    explicit_bzero(&key, sizeof(key));
    sigv4_tools_done(&tools);
    buf_done(&names);
    return is_signed && !buf_full(query) ? OK : INVALID;
}

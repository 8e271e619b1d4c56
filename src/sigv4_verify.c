/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4_verify.c - reading the signature of a request, from a header or the query, and checking it.
 *
 * What is wrong is said in the words of API Gateway: clients look for them.
 */
#include "sigv4_internal.h"

#include <string.h>
#include <time.h>

enum { SKEW_S = 300, EPOCH_YEAR = 1900 };

/* A signature as the request has it; values from the query are decoded into `decoded`. */
struct claim {
    bool is_query;
    struct slice credential;
    struct slice signed_headers;
    struct slice signature;
    struct slice date;
    struct slice expires; /* query only */
    struct sigv4_scope scope;
    struct buf decoded;
};

/* ---- reading a signature ---- */

/* The only header of that name; no data when there is none or more than one. */
static struct slice only_header(const struct sigv4_request *request, const char *name)
{
    struct slice found = {NULL, 0};
    size_t count = 0;

    for (size_t i = 0; i < request->header_count; i++) {
        if (slice_is_nocase(sigv4_slice_of(request->headers[i].name), name)) {
            found = sigv4_slice_of(request->headers[i].value);
            count++;
        }
    }
    return count == 1 ? found : (struct slice){NULL, 0};
}

static bool has_header(const struct sigv4_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (slice_is_nocase(sigv4_slice_of(request->headers[i].name), name))
            return true;
    return false;
}

static bool find_parameter(const struct sigv4_request *request, const char *wanted,
                           struct slice *out)
{
    struct slice rest = sigv4_slice_of(request->query);
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
        struct slice value = sigv4_trim(sigv4_cut(&rest, ','));
        struct slice name = sigv4_cut(&value, '=');

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
    size_t len = strlen(SIGV4_ALGORITHM);

    return authorization.len > len && memcmp(authorization.data, SIGV4_ALGORITHM, len) == 0 &&
           sigv4_is_blank(authorization.data[len]);
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
    struct slice authorization = sigv4_trim(only_header(request, "Authorization"));
    size_t len = strlen(SIGV4_ALGORITHM);

    if (!is_our_algorithm(authorization)) {
        fail(err, INVALID, "Authorization header requires the algorithm " SIGV4_ALGORITHM);
        return SIGV4_INCOMPLETE;
    }
    read_parts((struct slice){authorization.data + len, authorization.len - len}, claim);
    claim->date = sigv4_trim(only_header(request, "X-Amz-Date"));
    if (!claim->date.len)
        claim->date = sigv4_trim(only_header(request, "Date"));
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
    if (slice_is(algorithm, SIGV4_ALGORITHM) && claim->credential.len && claim->date.len &&
        claim->expires.len && claim->signed_headers.len && claim->signature.len)
        return SIGV4_GOOD;
    fail(err, INVALID,
         "AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', "
         "'X-Amz-Signature', 'X-Amz-SignedHeaders', 'X-Amz-Date' and 'X-Amz-Expires'");
    return SIGV4_INCOMPLETE;
}

/* The id may have slashes in it, for all we know: the scope is cut off from the end. */
static bool split_scope(struct slice credential, struct sigv4_scope *out)
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
    return credential.len && out->region.len && out->day.len == SIGV4_DAY_BYTES;
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
    return seconds >= 1 && seconds <= SIGV4_MAX_EXPIRES_S ? seconds : -1;
}

static enum sigv4_result wrong_time(const struct claim *claim, int64_t limit_s, int64_t now_s,
                                    struct error *err)
{
    char limit[SIGV4_DATE_BYTES], now[SIGV4_DATE_BYTES];
    bool is_late = limit_s < now_s;

    sigv4_write_date(limit_s, limit);
    sigv4_write_date(now_s, now);
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
                 SIGV4_MAX_EXPIRES_S);
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
    const struct sigv4_scope *scope = &claim->scope;

    if (!slice_is(scope->service, service)) {
        fail(err, DENIED, "Credential should be scoped to correct service: '%s'.", service);
        return SIGV4_WRONG;
    }
    if (!slice_is(scope->terminator, SIGV4_TERMINATOR)) {
        fail(err, DENIED,
             "Credential should be scoped with a valid terminator: '" SIGV4_TERMINATOR "'.");
        return SIGV4_WRONG;
    }
    if (!sigv4_slices_equal(scope->day, (struct slice){claim->date.data, SIGV4_DAY_BYTES})) {
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
        struct slice name = sigv4_cut(&rest, ';');

        has_host = has_host || slice_is(name, "host");
        has_date = has_date || slice_is(name, "x-amz-date") || slice_is(name, "date");
    }
    return has_host && has_date;
}

static bool matches(const struct sigv4_canonical *canonical, const struct claim *claim,
                    struct sigv4_tools *tools, const struct sigv4_key *key)
{
    char expected[SIGV4_HEX_BYTES];

    return sigv4_compute(canonical, tools, key, claim->date, &claim->scope, expected) &&
           claim->signature.len == SIGV4_SIGNATURE_LEN &&
           crypto_is_equal(expected, claim->signature.data, SIGV4_SIGNATURE_LEN);
}

static enum sigv4_result check_signature(const struct sigv4_request *request,
                                         const struct claim *claim, const char *secret,
                                         struct error *err)
{
    struct sigv4_canonical canonical = {.request = request,
                                        .signed_headers = claim->signed_headers,
                                        .is_presigned = claim->is_query,
                                        .encodes_path = true};
    struct sigv4_tools tools;
    struct sigv4_key key;
    bool is_good = false;

    if (signs_enough(claim)) {
        sigv4_tools_init(&tools);
        sigv4_derive_key(&tools, secret, &claim->scope, &key);
        is_good = matches(&canonical, claim, &tools, &key);
        canonical.encodes_path = false;
        is_good = is_good || matches(&canonical, claim, &tools, &key);
        sigv4_tools_done(&tools);
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

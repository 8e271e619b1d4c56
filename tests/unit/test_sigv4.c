/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures, against what botocore signs (sigv4_vectors.py).
 */
#include "buf.h"
#include "sigv4.h"
#include "sigv4_vectors.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct sigv4_credentials credentials = {VECTOR_KEY, VECTOR_SECRET, NULL};

static const struct vector *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        if (strcmp(vectors[i].name, name) == 0)
            return &vectors[i];
    abort();
}

static struct sigv4_request request_of(const struct vector *vector)
{
    struct sigv4_request request = {
        .method = vector->method,
        .path = vector->path,
        .query = vector->query,
        .headers = vector->headers,
        .body = vector->body,
        .body_len = vector->body_len,
    };

    while (request.header_count < VECTOR_HEADERS && vector->headers[request.header_count].name)
        request.header_count++;
    return request;
}

static enum sigv4_result verify_at(const struct sigv4_request *request, int64_t now_s,
                                   struct error *err)
{
    return sigv4_verify(request, &credentials, "execute-api", now_s, err);
}

static enum sigv4_result verify(const struct sigv4_request *request)
{
    return verify_at(request, VECTOR_NOW, NULL);
}

/* A copy of a vector's request whose headers may be changed. */
struct changed {
    struct sigv4_request request;
    struct sigv4_header headers[VECTOR_HEADERS + 2];
};

static void copy(struct changed *changed, const char *name)
{
    changed->request = request_of(find(name));
    memset(changed->headers, 0, sizeof(changed->headers));
    memcpy(changed->headers, changed->request.headers,
           changed->request.header_count * sizeof(changed->headers[0]));
    changed->request.headers = changed->headers;
}

static struct sigv4_header *header(struct changed *changed, const char *name)
{
    for (size_t i = 0; i < changed->request.header_count; i++)
        if (strcmp(changed->headers[i].name, name) == 0)
            return &changed->headers[i];
    abort();
}

/* Needs to be freed. */
static char *replaced(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    struct buf out;

    assert_non_null(at);
    buf_init(&out, 65536);
    buf_add(&out, text, (size_t)(at - text));
    buf_adds(&out, new);
    buf_adds(&out, at + strlen(old));
    return buf_take(&out);
}

/* ---- what the SDKs sign ---- */

static void test_what_botocore_signs_is_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct sigv4_request request = request_of(&vectors[i]);
        struct error err = {0};

        if (verify_at(&request, VECTOR_NOW, &err) != SIGV4_GOOD)
            fail_msg("%s: %s", vectors[i].name, err.text);
    }
}

static void test_we_sign_as_botocore_does(void **state)
{
    static const char *const names[] = {"post_encoded", "post_raw", "session_token",
                                        "bytes",        "headers",  "query"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct vector *vector = find(names[i]);
        struct sigv4_credentials with_token = credentials;
        struct sigv4_signature signature;
        struct changed changed;

        copy(&changed, names[i]);
        changed.request.header_count = 0;
        for (size_t h = 0; h < VECTOR_HEADERS && vector->headers[h].name; h++) {
            if (strcmp(vector->headers[h].name, "X-Amz-Security-Token") == 0)
                with_token.session_token = vector->headers[h].value;
            else if (strcmp(vector->headers[h].name, "X-Amz-Date") != 0 &&
                     strcmp(vector->headers[h].name, "Authorization") != 0)
                changed.headers[changed.request.header_count++] = vector->headers[h];
        }
        assert_int_equal(sigv4_sign(&changed.request, &with_token, "us-east-1", "execute-api",
                                    VECTOR_NOW, &signature),
                         OK);
        copy(&changed, names[i]);
        assert_string_equal(signature.authorization, header(&changed, "Authorization")->value);
        assert_string_equal(signature.date, "20261121T053200Z");
        if (with_token.session_token)
            assert_string_equal(signature.session_token, with_token.session_token);
        else
            assert_null(signature.session_token);
    }
}

static void test_we_presign_as_botocore_does(void **state)
{
    const struct vector *vector = find("presigned");
    const struct sigv4_presigning how = {
        .region = "us-east-1", .service = "execute-api", .now_s = VECTOR_NOW, .expires_s = 3600};
    struct sigv4_request request = request_of(vector);
    struct buf query;

    (void)state;
    buf_init(&query, 4096);
    request.query = NULL;
    assert_int_equal(sigv4_presign(&request, &credentials, &how, &query), OK);
    assert_string_equal(buf_str(&query), vector->query);
    buf_done(&query);
}

/* The parameters of the request in front, whatever its session token. */
static void test_what_we_presign_is_good(void **state)
{
    const struct sigv4_credentials with_token = {VECTOR_KEY, VECTOR_SECRET, "a token/+="};
    struct sigv4_presigning how = {
        .region = "us-east-1", .service = "execute-api", .now_s = VECTOR_NOW, .expires_s = 60};
    struct sigv4_request request = request_of(find("presigned"));
    struct buf query;

    (void)state;
    buf_init(&query, 4096);
    request.query = "z=%C3%A4&A=1&empty=";
    assert_int_equal(sigv4_presign(&request, &with_token, &how, &query), OK);
    request.query = buf_str(&query);
    assert_memory_equal(request.query, "z=%C3%A4&A=1&empty=&X-Amz-Algorithm=", 36);
    assert_non_null(strstr(request.query, "&X-Amz-Security-Token=a%20token%2F%2B%3D&"));
    assert_int_equal(verify(&request), SIGV4_GOOD);
    assert_int_equal(verify_at(&request, VECTOR_NOW + 61 + 300, NULL), SIGV4_WRONG);
    buf_clear(&query);
    how.expires_s = 604801;
    assert_int_equal(sigv4_presign(&request, &with_token, &how, &query), INVALID);
    how.expires_s = 0;
    assert_int_equal(sigv4_presign(&request, &with_token, &how, &query), INVALID);
    buf_done(&query);
    how.expires_s = 60;
    buf_init(&query, 100);
    request.query = NULL;
    assert_int_equal(sigv4_presign(&request, &with_token, &how, &query), INVALID);
    buf_done(&query);
}

static void test_what_does_not_fit_is_not_signed(void **state)
{
    struct sigv4_header headers[] = {{"Host", "x"}};
    struct sigv4_request request = {
        .method = "GET", .path = "/", .headers = headers, .header_count = 1};
    char region[1024];
    struct sigv4_signature signature;

    (void)state;
    memset(region, 'r', sizeof(region) - 1);
    region[sizeof(region) - 1] = '\0';
    assert_int_equal(
        sigv4_sign(&request, &credentials, region, "execute-api", VECTOR_NOW, &signature), INVALID);
}

/* ---- what was changed on the way ---- */

static void test_a_changed_request_is_wrong(void **state)
{
    struct changed changed;

    (void)state;
    copy(&changed, "headers");
    assert_int_equal(verify(&changed.request), SIGV4_GOOD);
    changed.request.method = "PUT";
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    copy(&changed, "headers");
    changed.request.path = "/dev/%40sent";
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    copy(&changed, "headers");
    changed.request.query = "a=1";
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    copy(&changed, "headers");
    changed.request.body_len--;
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    copy(&changed, "headers");
    header(&changed, "Host")->value = "127.0.0.1:8081";
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    copy(&changed, "headers");
    header(&changed, "X-Amz-Meta")->name = "X-Amz-Other";
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
}

static void test_the_query_counts_in_any_order_and_all_of_it(void **state)
{
    struct changed changed;
    struct buf query;

    (void)state;
    copy(&changed, "query");
    changed.request.query = "empty=&a=1&a=%40z&b=2&a-x=1";
    assert_int_equal(verify(&changed.request), SIGV4_GOOD);
    changed.request.query = "empty=&a=1&a=@z&b=2&a-x=1";
    assert_int_equal(verify(&changed.request), SIGV4_GOOD);
    changed.request.query = "empty=&a=1&a=%40z&b=2&a-x=2";
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    buf_init(&query, 65536);
    for (int i = 0; i < 1000; i++)
        buf_addf(&query, "n%d=1&", i);
    changed.request.query = buf_str(&query);
    assert_int_equal(verify(&changed.request), SIGV4_WRONG);
    buf_done(&query);
}

static void test_another_key_is_unknown_and_another_secret_is_wrong(void **state)
{
    struct sigv4_credentials other = {"AKIDOTHER", VECTOR_SECRET, NULL};
    struct sigv4_request request = request_of(find("post_encoded"));
    struct error err = {0};

    (void)state;
    assert_int_equal(sigv4_verify(&request, &other, "execute-api", VECTOR_NOW, &err),
                     SIGV4_UNKNOWN_KEY);
    assert_string_equal(err.text, "The security token included in the request is invalid.");
    other = (struct sigv4_credentials){VECTOR_KEY, "another", NULL};
    assert_int_equal(sigv4_verify(&request, &other, "execute-api", VECTOR_NOW, &err), SIGV4_WRONG);
    assert_non_null(strstr(err.text, "The request signature we calculated does not match"));
}

static void test_another_service_is_wrong(void **state)
{
    struct sigv4_request request = request_of(find("post_encoded"));
    struct error err = {0};

    (void)state;
    assert_int_equal(sigv4_verify(&request, &credentials, "s3", VECTOR_NOW, &err), SIGV4_WRONG);
    assert_string_equal(err.text, "Credential should be scoped to correct service: 's3'.");
}

static void test_the_clocks_may_differ_by_five_minutes(void **state)
{
    struct sigv4_request request = request_of(find("post_encoded"));
    struct error err = {0};

    (void)state;
    assert_int_equal(verify_at(&request, VECTOR_NOW + 300, &err), SIGV4_GOOD);
    assert_int_equal(verify_at(&request, VECTOR_NOW - 300, &err), SIGV4_GOOD);
    assert_int_equal(verify_at(&request, VECTOR_NOW + 301, &err), SIGV4_WRONG);
    assert_string_equal(err.text, "Signature expired: 20261121T053200Z is now earlier than "
                                  "20261121T053201Z (20261121T053701Z - 5 min.)");
    assert_int_equal(verify_at(&request, VECTOR_NOW - 301, &err), SIGV4_WRONG);
    assert_string_equal(err.text, "Signature not yet current: 20261121T053200Z is still later than "
                                  "20261121T053159Z (20261121T052659Z + 5 min.)");
}

static void test_a_presigned_url_is_good_for_as_long_as_it_says(void **state)
{
    struct sigv4_request request = request_of(find("presigned"));
    char *query;

    (void)state;
    assert_int_equal(verify_at(&request, VECTOR_NOW + 3600, NULL), SIGV4_GOOD);
    assert_int_equal(verify_at(&request, VECTOR_NOW + 3601, NULL), SIGV4_WRONG);
    assert_int_equal(verify_at(&request, VECTOR_NOW - 301, NULL), SIGV4_WRONG);
    query = replaced(request.query, "X-Amz-Expires=3600", "X-Amz-Expires=7200");
    request.query = query;
    assert_int_equal(verify(&request), SIGV4_WRONG);
    free(query);
    request = request_of(find("presigned"));
    query = replaced(request.query, "X-Amz-Expires=3600", "X-Amz-Expires=604801");
    request.query = query;
    assert_int_equal(verify(&request), SIGV4_INCOMPLETE);
    free(query);
    request.query = "X-Amz-Signature=abc";
    assert_int_equal(verify(&request), SIGV4_INCOMPLETE);
}

/* ---- what is not a signature ---- */

static void test_without_a_signature_it_is_missing(void **state)
{
    struct sigv4_request request = request_of(find("post_encoded"));
    struct error err = {0};

    (void)state;
    request.header_count = 1;
    assert_false(sigv4_is_signed(&request));
    assert_int_equal(verify_at(&request, VECTOR_NOW, &err), SIGV4_MISSING);
    assert_string_equal(err.text, "Missing Authentication Token");
}

static void test_half_a_signature_is_incomplete_and_says_what_is_not_there(void **state)
{
    static const struct {
        const char *value;
        const char *text;
    } rows[] = {
        {"Bearer x", "Authorization header requires the algorithm AWS4-HMAC-SHA256"},
        {"", "Authorization header requires the algorithm AWS4-HMAC-SHA256"},
        {"AWS4-HMAC-SHA256", "Authorization header requires the algorithm AWS4-HMAC-SHA256"},
        {"AWS4-HMAC-SHA256 Credential=a", "Authorization header requires 'Signature' parameter. "
                                          "Authorization header requires 'SignedHeaders' "
                                          "parameter."},
        {"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x",
         "Credential must have exactly 5 slash-delimited elements: "
         "keyid/date/region/service/term"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct changed changed;
        struct error err = {0};

        copy(&changed, "post_encoded");
        header(&changed, "Authorization")->value = rows[i].value;
        assert_true(sigv4_is_signed(&changed.request));
        assert_int_equal(verify_at(&changed.request, VECTOR_NOW, &err), SIGV4_INCOMPLETE);
        assert_string_equal(err.text, rows[i].text);
    }
}

static void test_two_authorization_headers_are_none(void **state)
{
    struct changed changed;

    (void)state;
    copy(&changed, "post_encoded");
    changed.headers[changed.request.header_count++] = *header(&changed, "Authorization");
    assert_int_equal(verify(&changed.request), SIGV4_INCOMPLETE);
}

static void test_a_date_has_to_be_there_and_be_one(void **state)
{
    static const char *const dates[] = {"2026-11-21T05:32:00Z", "20261121T053200", "yesterday", ""};
    struct changed changed;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
        copy(&changed, "post_encoded");
        header(&changed, "X-Amz-Date")->value = dates[i];
        assert_int_equal(verify(&changed.request), SIGV4_INCOMPLETE);
    }
}

/* Whoever signs neither the host nor the time has signed something that works everywhere, always.
 */
static void test_host_and_time_have_to_be_signed(void **state)
{
    static const char *const lists[] = {"SignedHeaders=host,", "SignedHeaders=x-amz-date,",
                                        "SignedHeaders=;,"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct changed changed;
        char *value;

        copy(&changed, "post_encoded");
        value = replaced(header(&changed, "Authorization")->value, "SignedHeaders=host;x-amz-date,",
                         lists[i]);
        header(&changed, "Authorization")->value = value;
        assert_int_equal(verify(&changed.request), SIGV4_WRONG);
        free(value);
    }
}

static void test_the_region_is_what_the_scope_says(void **state)
{
    struct sigv4_request request = request_of(find("raw_signed_as_sent"));
    char region[SIGV4_REGION_BYTES];

    (void)state;
    sigv4_region(&request, region);
    assert_string_equal(region, "eu-central-1");
    request = request_of(find("presigned"));
    sigv4_region(&request, region);
    assert_string_equal(region, "us-east-1");
    request.query = NULL;
    sigv4_region(&request, region);
    assert_string_equal(region, "");
}

/* The key that it keeps is that of the day and the region. */
static void test_a_signer_signs_as_one_signs_once(void **state)
{
    enum { DAY_S = 86400 };
    static const struct {
        const char *region;
        int64_t now_s;
    } turns[] = {
        {"us-east-1", VECTOR_NOW},         {"us-east-1", VECTOR_NOW + 1},
        {"eu-west-1", VECTOR_NOW + 1},     {"eu-west-10", VECTOR_NOW + 1},
        {"eu-west-1", VECTOR_NOW + DAY_S}, {"us-east-1", VECTOR_NOW},
    };
    const struct vector *vector = find("post_encoded");
    struct sigv4_signer *signer = sigv4_signer_create(&credentials, "execute-api");
    struct sigv4_request request = request_of(vector);
    struct sigv4_signature once, kept;

    (void)state;
    request.header_count = 1;
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        assert_int_equal(sigv4_sign(&request, &credentials, turns[i].region, "execute-api",
                                    turns[i].now_s, &once),
                         OK);
        assert_int_equal(
            sigv4_signer_sign(signer, &request, turns[i].region, turns[i].now_s, &kept), OK);
        assert_string_equal(kept.authorization, once.authorization);
        assert_string_equal(kept.date, once.date);
    }
    sigv4_signer_free(signer);
    sigv4_signer_free(NULL);
}

/* The signer's own way is shorter when the names come as they are signed. */
static void test_order_and_case_of_headers_do_not_count(void **state)
{
    static const struct sigv4_header sorted[] = {{"accept", "a/b"}, {"host", "h"}, {"x-one", "1"}};
    static const struct sigv4_header other[] = {{"X-One", "1"}, {"HOST", "h"}, {"Accept", " a/b "}};
    static const struct sigv4_header twice[] = {{"host", "h"}, {"x-one", "1"}, {"x-one", "2"}};
    static const struct sigv4_header joined[] = {{"X-One", "1,2"}, {"Host", "h"}};
    struct sigv4_request request = {.method = "GET", .path = "/", .headers = sorted};
    struct sigv4_signature a, b;

    (void)state;
    request.header_count = ARRAY_LEN(sorted);
    assert_int_equal(sigv4_sign(&request, &credentials, "r", "s", VECTOR_NOW, &a), OK);
    request.headers = other;
    assert_int_equal(sigv4_sign(&request, &credentials, "r", "s", VECTOR_NOW, &b), OK);
    assert_string_equal(a.authorization, b.authorization);
    assert_non_null(strstr(a.authorization, "SignedHeaders=accept;host;x-amz-date;x-one,"));
    request.headers = twice;
    assert_int_equal(sigv4_sign(&request, &credentials, "r", "s", VECTOR_NOW, &a), OK);
    request.headers = joined;
    request.header_count = ARRAY_LEN(joined);
    assert_int_equal(sigv4_sign(&request, &credentials, "r", "s", VECTOR_NOW, &b), OK);
    assert_string_equal(a.authorization, b.authorization);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_botocore_signs_is_good),
        cmocka_unit_test(test_we_sign_as_botocore_does),
        cmocka_unit_test(test_a_signer_signs_as_one_signs_once),
        cmocka_unit_test(test_order_and_case_of_headers_do_not_count),
        cmocka_unit_test(test_we_presign_as_botocore_does),
        cmocka_unit_test(test_what_we_presign_is_good),
        cmocka_unit_test(test_what_does_not_fit_is_not_signed),
        cmocka_unit_test(test_a_changed_request_is_wrong),
        cmocka_unit_test(test_the_query_counts_in_any_order_and_all_of_it),
        cmocka_unit_test(test_another_key_is_unknown_and_another_secret_is_wrong),
        cmocka_unit_test(test_another_service_is_wrong),
        cmocka_unit_test(test_the_clocks_may_differ_by_five_minutes),
        cmocka_unit_test(test_a_presigned_url_is_good_for_as_long_as_it_says),
        cmocka_unit_test(test_without_a_signature_it_is_missing),
        cmocka_unit_test(test_half_a_signature_is_incomplete_and_says_what_is_not_there),
        cmocka_unit_test(test_two_authorization_headers_are_none),
        cmocka_unit_test(test_a_date_has_to_be_there_and_be_one),
        cmocka_unit_test(test_host_and_time_have_to_be_signed),
        cmocka_unit_test(test_the_region_is_what_the_scope_says),
    };

    return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_event.c - identifiers and the JSON of events.
 */
#include "event.h"

#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- identifiers ---- */

static void assert_id_form(const char *id, size_t digits, const char *padding)
{
    assert_int_equal(strspn(id, alphabet), digits);
    assert_string_equal(id + digits, padding);
}

static void test_a_connection_id_is_13_bytes_as_base64url(void **state)
{
    char id[CONNECTION_ID_BYTES];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        id_mint_connection(id);
        assert_id_form(id, 18, "==");
        assert_int_equal(id[0], 'g');
        assert_true(id_is_wellformed(id));
    }
}

static void test_a_request_id_is_11_bytes_as_base64url(void **state)
{
    char id[REQUEST_ID_BYTES];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        id_mint_request(id);
        assert_id_form(id, 15, "=");
        assert_false(id_is_wellformed(id));
    }
}

static void test_a_message_id_ends_like_the_id_of_its_connection(void **state)
{
    char connection[CONNECTION_ID_BYTES];
    char message[CONNECTION_ID_BYTES];
    char other[CONNECTION_ID_BYTES];

    (void)state;
    id_mint_connection(connection);
    id_mint_message(connection, message);
    id_mint_message(connection, other);
    assert_id_form(message, 18, "==");
    assert_string_not_equal(message, connection);
    assert_string_not_equal(message, other);
    /* Byte 7 begins inside the 10th character: the last 8 characters and the padding are shared. */
    assert_string_equal(message + 10, connection + 10);
    assert_string_equal(other + 10, connection + 10);
}

static void test_a_message_id_is_made_for_a_foreign_connection_id_too(void **state)
{
    char message[CONNECTION_ID_BYTES];

    (void)state;
    id_mint_message("Mg_ugfpqPHcCIVA=", message);
    assert_id_form(message, 18, "==");
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void test_ids_are_unique(void **state)
{
    enum { COUNT = 20000 };
    static char connections[COUNT][CONNECTION_ID_BYTES];
    static char requests[COUNT][REQUEST_ID_BYTES];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        if (i % 2)
            id_mint_message(connections[i - 1], connections[i]);
        else
            id_mint_connection(connections[i]);
        id_mint_request(requests[i]);
    }
    qsort(connections, COUNT, sizeof(connections[0]), compare_ids);
    qsort(requests, COUNT, sizeof(requests[0]), compare_ids);
    for (int i = 1; i < COUNT; i++) {
        assert_string_not_equal(connections[i], connections[i - 1]);
        assert_string_not_equal(requests[i], requests[i - 1]);
    }
}

static void test_an_id_with_one_character_changed_is_not_wellformed(void **state)
{
    char id[CONNECTION_ID_BYTES];

    (void)state;
    for (int round = 0; round < 20; round++) {
        id_mint_connection(id);
        for (size_t i = 0; i < CONNECTION_ID_BYTES - 1; i++) {
            char original = id[i];

            for (const char *c =
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ \xC3";
                 *c; c++) {
                if (*c == original)
                    continue;
                id[i] = *c;
                if (id_is_wellformed(id))
                    fail_msg("%s, changed at %zu", id, i);
            }
            id[i] = original;
        }
        assert_true(id_is_wellformed(id));
    }
}

static void test_an_id_of_another_length_is_not_wellformed(void **state)
{
    char id[CONNECTION_ID_BYTES + 1] = "";

    (void)state;
    id_mint_connection(id);
    id[20] = 'A';
    assert_false(id_is_wellformed(id));
    for (size_t len = 20; len-- > 0;) {
        id[len] = '\0';
        assert_false(id_is_wellformed(id));
    }
    assert_false(id_is_wellformed("0000000000000000"));
    assert_false(id_is_wellformed("AAAAAAAAAAAAAAAAAA=="));
    assert_false(id_is_wellformed("gbgHN0-zjQAYKEjhgA==")); /* somebody else's */
}

/* ---- events ---- */

static const struct event_context context = {
    .connection_id = "gbgEXa8pzQAYKEi_gA==",
    .stage = "dev",
    .domain_name = "example.test",
    .api_id = "local",
    .source_ip = "203.0.113.7",
    .user_agent = "my-client",
    .connected_at_ms = 1790295166108,
};

static struct json *parse(struct buf *out)
{
    struct json *json = NULL;
    struct error err;

    if (json_parse(buf_str(out), out->len, &json, &err))
        fail_msg("%s: %s", buf_str(out), err.text);
    buf_done(out);
    return json;
}

static const struct json *at(const struct json *json, const char *key)
{
    const struct json *member = json_get(json, key);

    if (!member)
        fail_msg("no member %s", key);
    return member;
}

static void assert_text(const struct json *json, const char *key, const char *expected)
{
    assert_non_null(json_text(at(json, key)));
    assert_string_equal(json_text(at(json, key)), expected);
}

static void assert_integer(const struct json *json, const char *key, int64_t expected)
{
    int64_t value = 0;

    assert_int_equal(json_get_int(json, key, &value, NULL), OK);
    assert_int_equal(value, expected);
}

static void assert_false_member(const struct json *json, const char *key)
{
    assert_int_equal(json_type(at(json, key)), JSON_BOOL);
    assert_false(json_is_true(at(json, key)));
}

/* Names separated by commas, in order. */
static void assert_members(const struct json *json, const char *expected)
{
    struct buf names;

    buf_init(&names, 4096);
    for (const struct json *it = json_first(json); it; it = json_next(it)) {
        if (names.len)
            buf_addc(&names, ',');
        buf_adds(&names, json_key(it));
    }
    assert_string_equal(buf_str(&names), expected);
    buf_done(&names);
}

/* What the request contexts of all three have in common. */
static void assert_common(const struct json *request)
{
    assert_text(request, "messageDirection", "IN");
    assert_text(request, "stage", "dev");
    assert_integer(request, "connectedAt", 1790295166108);
    assert_integer(request, "requestTimeEpoch", 1790295170355);
    assert_text(request, "requestTime", "25/Sep/2026:00:12:50 +0000");
    assert_text(at(request, "identity"), "userAgent", "my-client");
    assert_text(at(request, "identity"), "sourceIp", "203.0.113.7");
    assert_members(at(request, "identity"), "userAgent,sourceIp");
    assert_text(request, "requestId", "EOpkcGiZIAMEmQw=");
    assert_text(request, "extendedRequestId", "EOpkcGiZIAMEmQw=");
    assert_text(request, "domainName", "example.test");
    assert_text(request, "connectionId", "gbgEXa8pzQAYKEi_gA==");
    assert_text(request, "apiId", "local");
}

static struct json *connect_event(const char *request, const struct event_context *ctx)
{
    struct http_head head;
    struct buf out;

    assert_int_equal(http_head_parse(request, strlen(request), &head, NULL), OK);
    buf_init(&out, 100000);
    event_write_connect(&out, ctx, &head, "EOpkcGiZIAMEmQw=", 1790295170355, 8080);
    return parse(&out);
}

static const char handshake[] =
    "GET /dev?context=query+value&repeat=first&repeat=second&a%2Bb=a%2Bb+space&flag HTTP/1.1\r\n"
    "Host: example.test\r\n"
    "X-Custom: v\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "content-length: 0\r\n"
    "Sec-WebSocket-Key: kPXCWZNmO7NLx6DePZD3RQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "aUtHoRiZaTiOn: Bearer x\r\n"
    "x-custom: w\r\n"
    "User-Agent: my-client\r\n"
    "\r\n";

static void test_a_connect_event_has_these_members_and_no_others(void **state)
{
    struct json *event = connect_event(handshake, &context);
    const struct json *request = at(event, "requestContext");

    (void)state;
    assert_members(event, "headers,multiValueHeaders,queryStringParameters,"
                          "multiValueQueryStringParameters,requestContext,isBase64Encoded");
    assert_members(request,
                   "routeKey,eventType,extendedRequestId,requestTime,messageDirection,stage,"
                   "connectedAt,requestTimeEpoch,identity,requestId,domainName,connectionId,"
                   "apiId");
    assert_text(request, "routeKey", "$connect");
    assert_text(request, "eventType", "CONNECT");
    assert_common(request);
    assert_false_member(event, "isBase64Encoded");
    json_free(event);
}

static void test_connect_headers_keep_their_spelling_and_are_sorted_without_case(void **state)
{
    struct json *event = connect_event(handshake, &context);
    const struct json *headers = at(event, "headers");
    const struct json *lists = at(event, "multiValueHeaders");
    static const char names[] =
        "aUtHoRiZaTiOn,Host,Sec-WebSocket-Key,Sec-WebSocket-Version,User-Agent,"
        "X-Amzn-Trace-Id,X-Custom,X-Forwarded-For,X-Forwarded-Port,"
        "X-Forwarded-Proto";

    (void)state;
    assert_members(headers, names);
    assert_members(lists, names);
    assert_text(headers, "Host", "example.test");
    assert_text(headers, "X-Custom", "w"); /* the last one */
    assert_int_equal(json_len(at(lists, "X-Custom")), 2);
    assert_string_equal(json_text(json_at(at(lists, "X-Custom"), 0)), "v");
    assert_string_equal(json_text(json_at(at(lists, "X-Custom"), 1)), "w");
    assert_string_equal(json_text(json_at(at(lists, "Host"), 0)), "example.test");
    assert_text(headers, "X-Forwarded-For", "203.0.113.7");
    assert_text(headers, "X-Forwarded-Port", "8080");
    assert_text(headers, "X-Forwarded-Proto", "http");
    json_free(event);
}

static void test_the_trace_id_has_the_time_and_24_random_digits(void **state)
{
    struct json *event = connect_event(handshake, &context);
    const char *trace = json_text(at(at(event, "headers"), "X-Amzn-Trace-Id"));

    (void)state;
    assert_int_equal(strlen(trace), strlen("Root=1-6ab5bc7e-2849801b0420cf9916ef2331"));
    assert_memory_equal(trace, "Root=1-6ab5bc7e-", 16);
    assert_int_equal(strspn(trace + 16, "0123456789abcdef"), 24);
    json_free(event);
}

static void test_query_values_are_decoded_and_the_last_one_counts(void **state)
{
    struct json *event = connect_event(handshake, &context);
    const struct json *query = at(event, "queryStringParameters");
    const struct json *lists = at(event, "multiValueQueryStringParameters");

    (void)state;
    assert_members(query, "a+b,context,flag,repeat");
    assert_members(lists, "a+b,context,flag,repeat");
    assert_text(query, "context", "query value");
    assert_text(query, "a+b", "a+b space");
    assert_text(query, "flag", "");
    assert_text(query, "repeat", "second");
    assert_string_equal(json_text(json_at(at(lists, "repeat"), 0)), "first");
    assert_string_equal(json_text(json_at(at(lists, "repeat"), 1)), "second");
    assert_int_equal(json_len(at(lists, "repeat")), 2);
    json_free(event);
}

static void test_without_a_query_the_maps_are_absent(void **state)
{
    static const char *const targets[] = {"/dev", "/dev?", "/dev?&&"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct buf request;
        struct json *event;

        buf_init(&request, 100);
        buf_addf(&request, "GET %s HTTP/1.1\r\n\r\n", targets[i]);
        event = connect_event(buf_str(&request), &context);
        assert_members(event, "headers,multiValueHeaders,requestContext,isBase64Encoded");
        json_free(event);
        buf_done(&request);
    }
}

static void test_what_cannot_be_decoded_stays_as_it_was_sent(void **state)
{
    struct json *event = connect_event("GET /?a=%zz&b=%00&c=%ff&%=1 HTTP/1.1\r\n\r\n", &context);
    const struct json *query = at(event, "queryStringParameters");

    (void)state;
    assert_text(query, "a", "%zz");
    assert_text(query, "b", "%00");
    assert_text(query, "c", "\xEF\xBF\xBD"); /* not UTF-8 */
    assert_text(query, "%", "1");
    json_free(event);
}

static void test_proxies_in_front_stay_in_forwarded_for_and_nowhere_else(void **state)
{
    struct json *event = connect_event("GET / HTTP/1.1\r\n"
                                       "X-Forwarded-For: 198.51.100.1\r\n"
                                       "x-forwarded-for: 198.51.100.2\r\n"
                                       "X-Forwarded-Port: 1\r\n"
                                       "X-Forwarded-Proto: gopher\r\n"
                                       "X-Amzn-Trace-Id: forged\r\n\r\n",
                                       &context);
    const struct json *headers = at(event, "headers");

    (void)state;
    assert_members(headers, "X-Amzn-Trace-Id,X-Forwarded-For,X-Forwarded-Port,X-Forwarded-Proto");
    assert_text(headers, "X-Forwarded-For", "198.51.100.1, 198.51.100.2, 203.0.113.7");
    assert_text(headers, "X-Forwarded-Port", "8080");
    assert_text(headers, "X-Forwarded-Proto", "http");
    assert_string_not_equal(json_text(at(headers, "X-Amzn-Trace-Id")), "forged");
    json_free(event);
}

static void test_a_head_full_of_headers_and_parameters_is_written_whole(void **state)
{
    struct buf request;
    struct json *event;

    (void)state;
    buf_init(&request, 100000);
    buf_adds(&request, "GET /?");
    for (int i = 0; i < 2000; i++)
        buf_addf(&request, "%d=&", i);
    buf_adds(&request, " HTTP/1.1\r\n");
    for (int i = 0; i < HTTP_MAX_HEADERS; i++)
        buf_addf(&request, "X-Forwarded-For: %d\r\n", i);
    buf_adds(&request, "\r\n");
    event = connect_event(buf_str(&request), &context);
    assert_int_equal(json_len(at(event, "queryStringParameters")), 2000);
    assert_non_null(
        strstr(json_text(at(at(event, "headers"), "X-Forwarded-For")), "98, 99, 203.0.113.7"));
    json_free(event);
    buf_done(&request);
}

static void test_the_user_agent_is_left_out_when_there_was_none(void **state)
{
    struct event_context silent = context;
    struct json *event;

    (void)state;
    silent.user_agent = NULL;
    event = connect_event("GET / HTTP/1.1\r\n\r\n", &silent);
    assert_members(at(at(event, "requestContext"), "identity"), "sourceIp");
    json_free(event);
}

static void test_the_authorizers_context_is_part_of_every_event(void **state)
{
    struct event_context known = context;
    struct json *event;
    struct buf out;

    (void)state;
    known.authorizer = "{\"principalId\":\"user-1\",\"tenant\":\"t1\"}";
    event = connect_event(handshake, &known);
    assert_text(at(at(event, "requestContext"), "authorizer"), "principalId", "user-1");
    json_free(event);
    buf_init(&out, 10000);
    event_write_disconnect(&out, &known, "EOpkcGiZIAMEmQw=", 1000, "", 1790295170355);
    event = parse(&out);
    assert_text(at(at(event, "requestContext"), "authorizer"), "tenant", "t1");
    assert_members(
        at(event, "requestContext"),
        "routeKey,disconnectStatusCode,authorizer,eventType,extendedRequestId,requestTime,"
        "messageDirection,disconnectReason,stage,connectedAt,requestTimeEpoch,identity,"
        "requestId,domainName,connectionId,apiId");
    json_free(event);
}

static void test_a_message_event_has_neither_headers_nor_query(void **state)
{
    static const char body[] = "{\"action\":\"sendmessage\",\"data\":\"\x01\xC3\xA9\"} and more";
    const struct event_message message = {"sendmessage",
                                          "EOpkcGiZIAMEmQw=", "gbgEYu8yQQAYKEi_gA==", body,
                                          sizeof(body) - 1 - strlen(" and more")};
    const struct json *request;
    struct json *event;
    struct buf out;

    (void)state;
    buf_init(&out, 10000);
    event_write_message(&out, &context, &message, 1790295170355);
    event = parse(&out);
    request = at(event, "requestContext");
    assert_members(event, "requestContext,body,isBase64Encoded");
    assert_members(request,
                   "routeKey,messageId,eventType,extendedRequestId,requestTime,messageDirection,"
                   "stage,connectedAt,requestTimeEpoch,identity,requestId,domainName,"
                   "connectionId,apiId");
    assert_text(request, "routeKey", "sendmessage");
    assert_text(request, "eventType", "MESSAGE");
    assert_text(request, "messageId", "gbgEYu8yQQAYKEi_gA==");
    assert_common(request);
    assert_text(event, "body", "{\"action\":\"sendmessage\",\"data\":\"\x01\xC3\xA9\"}");
    assert_false_member(event, "isBase64Encoded");
    json_free(event);
}

static void test_a_disconnect_event_has_four_headers_a_code_and_a_reason(void **state)
{
    const struct json *request;
    const struct json *headers;
    struct json *event;
    struct buf out;

    (void)state;
    buf_init(&out, 10000);
    event_write_disconnect(&out, &context, "EOpkcGiZIAMEmQw=", 1001, "Going away", 1790295170355);
    event = parse(&out);
    request = at(event, "requestContext");
    headers = at(event, "headers");
    assert_members(event, "headers,multiValueHeaders,requestContext,isBase64Encoded");
    assert_members(headers, "Host,x-api-key,X-Forwarded-For,x-restapi");
    assert_text(headers, "Host", "example.test");
    assert_text(headers, "x-api-key", "");
    assert_members(at(event, "multiValueHeaders"), "Host,x-api-key,X-Forwarded-For,x-restapi");
    assert_string_equal(json_text(json_at(at(at(event, "multiValueHeaders"), "Host"), 0)),
                        "example.test");
    assert_string_equal(json_text(json_at(at(at(event, "multiValueHeaders"), "x-restapi"), 0)), "");
    assert_members(request, "routeKey,disconnectStatusCode,eventType,extendedRequestId,requestTime,"
                            "messageDirection,disconnectReason,stage,connectedAt,requestTimeEpoch,"
                            "identity,requestId,domainName,connectionId,apiId");
    assert_text(request, "routeKey", "$disconnect");
    assert_text(request, "eventType", "DISCONNECT");
    assert_integer(request, "disconnectStatusCode", 1001);
    assert_text(request, "disconnectReason", "Going away");
    assert_common(request);
    assert_false_member(event, "isBase64Encoded");
    json_free(event);
}

static void test_a_missing_reason_is_an_empty_one(void **state)
{
    struct json *event;
    struct buf out;

    (void)state;
    buf_init(&out, 10000);
    event_write_disconnect(&out, &context, "EOpkcGiZIAMEmQw=", 1006, NULL, 1790295170355);
    event = parse(&out);
    assert_text(at(event, "requestContext"), "disconnectReason", "");
    json_free(event);
}

static void test_an_error_frame_has_the_blanks_of_api_gateway(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    event_write_error(&out, "Internal server error", "gbiTa0-RwQAYKEjMjA==", "EPx9lEh6oAMEOdQ=");
    assert_string_equal(buf_str(&out), "{\"message\": \"Internal server error\", "
                                       "\"connectionId\":\"gbiTa0-RwQAYKEjMjA==\", "
                                       "\"requestId\":\"EPx9lEh6oAMEOdQ=\"}");
    buf_clear(&out);
    event_write_error(&out, "say \"no\"", "c", "r");
    assert_string_equal(
        buf_str(&out),
        "{\"message\": \"say \\\"no\\\"\", \"connectionId\":\"c\", \"requestId\":\"r\"}");
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_id_is_13_bytes_as_base64url),
        cmocka_unit_test(test_a_request_id_is_11_bytes_as_base64url),
        cmocka_unit_test(test_a_message_id_ends_like_the_id_of_its_connection),
        cmocka_unit_test(test_a_message_id_is_made_for_a_foreign_connection_id_too),
        cmocka_unit_test(test_ids_are_unique),
        cmocka_unit_test(test_an_id_with_one_character_changed_is_not_wellformed),
        cmocka_unit_test(test_an_id_of_another_length_is_not_wellformed),
        cmocka_unit_test(test_a_connect_event_has_these_members_and_no_others),
        cmocka_unit_test(test_connect_headers_keep_their_spelling_and_are_sorted_without_case),
        cmocka_unit_test(test_the_trace_id_has_the_time_and_24_random_digits),
        cmocka_unit_test(test_query_values_are_decoded_and_the_last_one_counts),
        cmocka_unit_test(test_without_a_query_the_maps_are_absent),
        cmocka_unit_test(test_what_cannot_be_decoded_stays_as_it_was_sent),
        cmocka_unit_test(test_proxies_in_front_stay_in_forwarded_for_and_nowhere_else),
        cmocka_unit_test(test_a_head_full_of_headers_and_parameters_is_written_whole),
        cmocka_unit_test(test_the_user_agent_is_left_out_when_there_was_none),
        cmocka_unit_test(test_the_authorizers_context_is_part_of_every_event),
        cmocka_unit_test(test_a_message_event_has_neither_headers_nor_query),
        cmocka_unit_test(test_a_disconnect_event_has_four_headers_a_code_and_a_reason),
        cmocka_unit_test(test_a_missing_reason_is_an_empty_one),
        cmocka_unit_test(test_an_error_frame_has_the_blanks_of_api_gateway),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events from the headers of an HTTP_PROXY integration.
 */
#include "incoming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

static const struct incoming_field full[] = {
    {"connectionId", "gbgEXa8pzQAYKEi_gA=="},
    {"eventType", "CONNECT"},
    {"routeKey", "$connect"},
    {"requestId", "EPx9lEh6oAMEOdQ="},
    {"stage", "dev"},
    {"apiId", "abc1234567"},
    {"domainName", "ws.example.com"},
    {"connectedAt", "1645556857902"},
    {"sourceIp", "10.0.0.13"},
    {"userAgent", "curl"},
    {"Host", "backend.internal"},
    {"Sec-WebSocket-Protocol", "a, b"},
    {"X-Flavour", "\"vanilla\""},
};
static const struct incoming_field query[] = {{"email", "ann@example.com"}, {"token", "a&b=c"}};

static struct incoming_request request_of(const struct incoming_field *headers, size_t count)
{
    return (struct incoming_request){.headers = headers, .header_count = count};
}

static struct incoming read_event(const struct incoming_request *request)
{
    struct incoming event;
    struct error err = {0};

    if (incoming_from_request(request, &event, &err) != OK)
        fail_msg("%s", err.text);
    return event;
}

static void expect_refused(const struct incoming_request *request, const char *text)
{
    struct incoming event;
    struct error err = {0};

    assert_int_equal(incoming_from_request(request, &event, &err), INVALID);
    assert_non_null(strstr(err.text, text));
}

static void test_a_handshake(void **state)
{
    struct incoming_request request = request_of(full, ARRAY_LEN(full));
    struct incoming event;

    (void)state;
    request.query = query;
    request.query_count = ARRAY_LEN(query);
    event = read_event(&request);
    assert_int_equal(event.kind, INCOMING_CONNECT);
    assert_string_equal(event.connection_id, "gbgEXa8pzQAYKEi_gA==");
    assert_string_equal(event.request_id, "EPx9lEh6oAMEOdQ=");
    assert_string_equal(event.stage, "dev");
    assert_string_equal(event.api_id, "abc1234567");
    assert_string_equal(event.domain_name, "ws.example.com");
    assert_string_equal(event.source_ip, "10.0.0.13");
    assert_string_equal(event.user_agent, "curl");
    assert_true(event.connected_at_ms == 1645556857902);
    assert_string_equal(incoming_query(&event, "email"), "ann@example.com");
    assert_string_equal(incoming_query(&event, "token"), "a&b=c");
    assert_string_equal(incoming_header(&event, "sec-websocket-protocol"), "a, b");
    assert_string_equal(incoming_header(&event, "x-flavour"), "\"vanilla\"");
    assert_string_equal(incoming_header(&event, "host"), "ws.example.com");
    assert_null(incoming_header(&event, "connectionId"));
    assert_null(incoming_header(&event, "sourceIp"));
    incoming_done(&event);
}

static void test_a_message(void **state)
{
    static const struct incoming_field headers[] = {
        {"CONNECTIONID", "c"}, {"eventtype", "MESSAGE"}, {"RouteKey", "chat"}, {"messageId", "m"}};
    static const char body[] = "{\"n\":\"\x01\"}";
    struct incoming_request request = request_of(headers, ARRAY_LEN(headers));
    struct incoming event;

    (void)state;
    request.body = body;
    request.body_len = strlen(body);
    event = read_event(&request);
    assert_int_equal(event.kind, INCOMING_MESSAGE);
    assert_string_equal(event.route_key, "chat");
    assert_string_equal(event.message_id, "m");
    assert_string_equal(event.body, body);
    assert_null(event.source_ip);
    incoming_done(&event);
    request.body = NULL;
    request.body_len = 0;
    event = read_event(&request);
    assert_string_equal(event.body, "");
    incoming_done(&event);
}

static void test_a_message_with_a_nul_is_refused(void **state)
{
    static const struct incoming_field headers[] = {{"connectionId", "c"},
                                                    {"eventType", "MESSAGE"}};
    struct incoming_request request = request_of(headers, ARRAY_LEN(headers));

    (void)state;
    request.body = "a\0b";
    request.body_len = 3;
    expect_refused(&request, "");
}

static void test_an_end(void **state)
{
    static const struct incoming_field headers[] = {{"connectionId", "c"},
                                                    {"eventType", "DISCONNECT"},
                                                    {"disconnectStatusCode", "4001"},
                                                    {"disconnectReason", "done"}};
    struct incoming_request request = request_of(headers, ARRAY_LEN(headers));
    struct incoming event = read_event(&request);

    (void)state;
    assert_int_equal(event.kind, INCOMING_DISCONNECT);
    assert_true(event.code == 4001);
    assert_string_equal(event.reason, "done");
    incoming_done(&event);
    request.header_count = 2;
    event = read_event(&request);
    assert_true(event.code == 1005);
    assert_string_equal(event.reason, "");
    incoming_done(&event);
}

/* The route's name says what its type would. */
static void test_the_type_may_be_missing(void **state)
{
    static const struct {
        const char *route;
        enum incoming_kind kind;
    } rows[] = {{"$connect", INCOMING_CONNECT},
                {"$disconnect", INCOMING_DISCONNECT},
                {"$default", INCOMING_MESSAGE},
                {"chat", INCOMING_MESSAGE}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct incoming_field headers[] = {{"connectionId", "c"}, {"routeKey", rows[i].route}};
        struct incoming_request request = request_of(headers, ARRAY_LEN(headers));
        struct incoming event = read_event(&request);

        assert_int_equal(event.kind, rows[i].kind);
        incoming_done(&event);
    }
}

static void test_what_is_missing_is_named(void **state)
{
    static const struct incoming_field no_id[] = {{"eventType", "MESSAGE"}, {"connectionId", ""}};
    static const struct incoming_field no_type[] = {{"connectionId", "c"}};
    static const struct incoming_field wrong[] = {{"connectionId", "c"}, {"eventType", "PING"}};
    struct incoming_request request = request_of(no_id, ARRAY_LEN(no_id));

    (void)state;
    expect_refused(&request, "integration.request.header.connectionId to context.connectionId");
    request = request_of(no_type, ARRAY_LEN(no_type));
    expect_refused(&request, "integration.request.header.eventType to context.eventType");
    request = request_of(wrong, ARRAY_LEN(wrong));
    expect_refused(&request, "none of CONNECT, MESSAGE and DISCONNECT");
}

/* The gateway puts what is mapped behind what the client sent. */
static void test_the_last_one_counts(void **state)
{
    static const struct incoming_field headers[] = {
        {"connectionid", "the client's"}, {"connectionId", "ours"}, {"eventType", "MESSAGE"}};
    struct incoming_request request = request_of(headers, ARRAY_LEN(headers));
    struct incoming event = read_event(&request);

    (void)state;
    assert_string_equal(event.connection_id, "ours");
    incoming_done(&event);
}

static void test_names_of_others(void **state)
{
    static const struct incoming_field headers[] = {{"connectionId", "c"},
                                                    {"eventType", "MESSAGE"},
                                                    {"stageName", "prod"},
                                                    {"x-amzn-apigateway-api-id", "abc"},
                                                    {"connectedAt", "yesterday"}};
    struct incoming_request request = request_of(headers, ARRAY_LEN(headers));
    struct incoming event = read_event(&request);

    (void)state;
    assert_string_equal(event.stage, "prod");
    assert_string_equal(event.api_id, "abc");
    assert_true(event.connected_at_ms == 0);
    assert_true(incoming_is_mapped("STAGENAME") && incoming_is_mapped("eventtype"));
    assert_false(incoming_is_mapped("Host"));
    incoming_done(&event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handshake),
        cmocka_unit_test(test_a_message),
        cmocka_unit_test(test_a_message_with_a_nul_is_refused),
        cmocka_unit_test(test_an_end),
        cmocka_unit_test(test_the_type_may_be_missing),
        cmocka_unit_test(test_what_is_missing_is_named),
        cmocka_unit_test(test_the_last_one_counts),
        cmocka_unit_test(test_names_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

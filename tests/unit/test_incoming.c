/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an event is, and what is taken from it.
 */
#include "incoming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT(type) "\"requestContext\":{\"eventType\":\"" type "\",\"connectionId\":\"c=\"}"

static struct incoming parse(const char *text)
{
    struct incoming event;
    struct error err = {0};

    if (incoming_parse(text, strlen(text), &event, &err) != OK)
        fail_msg("%s: %s", text, err.text);
    return event;
}

/* ---- which kind ---- */

struct example {
    const char *text;
    enum incoming_kind kind;
};

static void expect_kinds(const struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct incoming event = parse(examples[i].text);

        if (event.kind != examples[i].kind)
            fail_msg("%s is %s instead of %s", examples[i].text, incoming_kind_name(event.kind),
                     incoming_kind_name(examples[i].kind));
        incoming_done(&event);
    }
}

static void test_each_kind_is_known_by_its_members(void **state)
{
    static const struct example examples[] = {
        {"{\"type\":\"REQUEST\",\"methodArn\":\"arn:aws:execute-api:x\"}", INCOMING_AUTHORIZER},
        {"{" CONTEXT("CONNECT") "}", INCOMING_CONNECT},
        {"{" CONTEXT("MESSAGE") "}", INCOMING_MESSAGE},
        {"{" CONTEXT("DISCONNECT") "}", INCOMING_DISCONNECT},
        {"{\"source\":\"aws.events\",\"detail-type\":\"Scheduled Event\",\"detail\":{}}",
         INCOMING_SCHEDULE},
        {"{\"source\":\"aws.scheduler\",\"detail-type\":\"Scheduled Event\",\"detail\":\"{}\"}",
         INCOMING_SCHEDULE},
        {"{\"source\":\"aws.events\",\"detail-type\":\"Scheduled Event\"}", INCOMING_SCHEDULE},
        {"{\"source\":\"shop\",\"detail-type\":\"Order\",\"detail\":{\"op\":\"publish\"}}",
         INCOMING_EVENTBRIDGE},
        {"{\"source\":\"shop\",\"detail-type\":\"Scheduled Event\",\"detail\":{}}",
         INCOMING_EVENTBRIDGE},
        {"{\"Records\":[{\"eventSource\":\"aws:sqs\",\"body\":\"{}\"}]}", INCOMING_SQS},
        {"{\"Records\":[{\"EventSource\":\"aws:sns\",\"Sns\":{}}]}", INCOMING_SNS},
        {"{\"requestContext\":{\"http\":{\"method\":\"GET\"}},\"rawPath\":\"/\"}", INCOMING_HTTP},
        {"{\"httpMethod\":\"GET\",\"path\":\"/\"}", INCOMING_HTTP},
        {"{\"op\":\"deliver\"}", INCOMING_COMMAND},
        {"{}", INCOMING_UNKNOWN},
        {"{\"hello\":\"world\"}", INCOMING_UNKNOWN},
    };

    (void)state;
    expect_kinds(examples, ARRAY_LEN(examples));
}

static void test_the_first_kind_that_fits_counts(void **state)
{
    static const struct example examples[] = {
        /* An authorizer's event has the context of the CONNECT that it is about. */
        {"{\"type\":\"REQUEST\",\"methodArn\":\"arn\"," CONTEXT("CONNECT") "}",
         INCOMING_AUTHORIZER},
        {"{" CONTEXT("CONNECT") ",\"methodArn\":\"arn\",\"type\":\"TOKEN\"}", INCOMING_CONNECT},
        {"{" CONTEXT("MESSAGE") ",\"source\":\"aws.events\",\"detail-type\":\"Scheduled Event\"}",
         INCOMING_MESSAGE},
        {"{\"source\":\"aws.events\",\"detail-type\":\"Scheduled Event\",\"detail\":{},"
         "\"Records\":[{\"eventSource\":\"aws:sqs\"}]}",
         INCOMING_SCHEDULE},
        {"{\"source\":\"s\",\"detail-type\":\"t\",\"detail\":1,"
         "\"Records\":[{\"eventSource\":\"aws:sqs\"}]}",
         INCOMING_EVENTBRIDGE},
        {"{\"Records\":[{\"eventSource\":\"aws:sqs\",\"EventSource\":\"aws:sns\"}]}", INCOMING_SQS},
        {"{\"Records\":[{\"EventSource\":\"aws:sns\"}],\"httpMethod\":\"GET\"}", INCOMING_SNS},
        {"{\"httpMethod\":\"GET\",\"op\":\"deliver\"}", INCOMING_HTTP},
        /* A client chooses the body, and nothing beside it. */
        {"{" CONTEXT("MESSAGE") ",\"body\":\"{\\\"op\\\":\\\"cleanup\\\"}\",\"op\":\"cleanup\"}",
         INCOMING_MESSAGE},
    };

    (void)state;
    expect_kinds(examples, ARRAY_LEN(examples));
}

static void test_what_only_looks_alike_is_something_else(void **state)
{
    static const struct example examples[] = {
        {"{\"type\":\"REQUEST\"}", INCOMING_UNKNOWN},
        {"{\"type\":\"REQUEST\",\"methodArn\":null,\"op\":\"x\"}", INCOMING_COMMAND},
        {"{\"requestContext\":{\"eventType\":\"CONNECT\"}}", INCOMING_UNKNOWN},
        {"{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"\"}}",
         INCOMING_UNKNOWN},
        {"{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":7}}", INCOMING_UNKNOWN},
        {"{\"requestContext\":{\"eventType\":\"connect\",\"connectionId\":\"c=\"}}",
         INCOMING_UNKNOWN},
        {"{\"requestContext\":{\"eventType\":null,\"connectionId\":\"c=\"}}", INCOMING_UNKNOWN},
        {"{\"requestContext\":[],\"op\":\"x\"}", INCOMING_COMMAND},
        {"{\"requestContext\":\"CONNECT\"}", INCOMING_UNKNOWN},
        {"{\"source\":\"aws.events\",\"detail-type\":\"Other\"}", INCOMING_UNKNOWN},
        {"{\"source\":\"s\",\"detail-type\":\"t\",\"detail\":null}", INCOMING_UNKNOWN},
        {"{\"Records\":[]}", INCOMING_UNKNOWN},
        {"{\"Records\":[null]}", INCOMING_UNKNOWN},
        {"{\"Records\":[\"aws:sqs\"]}", INCOMING_UNKNOWN},
        {"{\"Records\":{\"eventSource\":\"aws:sqs\"}}", INCOMING_UNKNOWN},
        {"{\"Records\":[{\"eventSource\":\"aws:s3\"}]}", INCOMING_UNKNOWN},
        {"{\"Records\":[{\"eventSource\":\"aws:sns\"}]}", INCOMING_UNKNOWN},
        {"{\"Records\":[{\"EventSource\":\"aws:sqs\"}]}", INCOMING_UNKNOWN},
        {"{\"Records\":[{},{\"eventSource\":\"aws:sqs\"}]}", INCOMING_UNKNOWN},
        {"{\"httpMethod\":null,\"requestContext\":{\"http\":null}}", INCOMING_UNKNOWN},
        {"{\"op\":null}", INCOMING_UNKNOWN},
        {"{\"op\":7}", INCOMING_UNKNOWN},
    };

    (void)state;
    expect_kinds(examples, ARRAY_LEN(examples));
}

static void test_what_is_no_json_object_is_no_event(void **state)
{
    static const char *const texts[] = {"", "null", "[]", "\"op\"", "7", "{", "{\"op\":\"\xff\"}"};
    struct incoming event;
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        err = (struct error){0};
        if (incoming_parse(texts[i], strlen(texts[i]), &event, &err) != INVALID)
            fail_msg("%s is an event", texts[i]);
        assert_int_not_equal(err.text[0], '\0');
    }
}

static void test_each_kind_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = INCOMING_AUTHORIZER; i <= INCOMING_UNKNOWN; i++)
        for (int j = INCOMING_AUTHORIZER; j < i; j++)
            assert_string_not_equal(incoming_kind_name((enum incoming_kind)i),
                                    incoming_kind_name((enum incoming_kind)j));
}

/* ---- its members ---- */

static const char full_connect[] =
    "{\"headers\":{\"Host\":\"abc.example\",\"X-A\":\"1\",\"x-a\":\"2\",\"Odd\":7},"
    "\"multiValueHeaders\":{\"Host\":[\"abc.example\"]},"
    "\"queryStringParameters\":{\"token\":\"t t\",\"empty\":\"\"},"
    "\"multiValueQueryStringParameters\":{\"token\":[\"t t\"]},"
    "\"requestContext\":{\"routeKey\":\"$connect\",\"eventType\":\"CONNECT\","
    "\"stage\":\"dev\",\"connectedAt\":1645556857902,"
    "\"identity\":{\"sourceIp\":\"10.0.0.13\",\"userAgent\":\"ws/8\"},"
    "\"requestId\":\"r=\",\"messageId\":null,\"domainName\":\"abc.example\","
    "\"connectionId\":\"c=\",\"apiId\":\"abc\","
    "\"authorizer\":{\"principalId\":\"u1\",\"tenant\":\"7\",\"integrationLatency\":12}},"
    "\"isBase64Encoded\":false}";

static void test_a_connect_has_everything(void **state)
{
    struct incoming event = parse(full_connect);

    (void)state;
    assert_int_equal(event.kind, INCOMING_CONNECT);
    assert_string_equal(event.connection_id, "c=");
    assert_string_equal(event.request_id, "r=");
    assert_null(event.message_id);
    assert_string_equal(event.route_key, "$connect");
    assert_string_equal(event.stage, "dev");
    assert_string_equal(event.domain_name, "abc.example");
    assert_string_equal(event.api_id, "abc");
    assert_string_equal(event.source_ip, "10.0.0.13");
    assert_string_equal(event.user_agent, "ws/8");
    assert_int_equal(event.connected_at_ms, 1645556857902);
    assert_true(event.has_authorizer);
    assert_null(event.body);
    assert_string_equal(incoming_header(&event, "host"), "abc.example");
    assert_string_equal(incoming_header(&event, "X-a"), "2"); /* the last one */
    assert_null(incoming_header(&event, "odd"));
    assert_null(incoming_header(&event, "none"));
    assert_string_equal(incoming_query(&event, "token"), "t t");
    assert_string_equal(incoming_query(&event, "empty"), "");
    assert_null(incoming_query(&event, "Token")); /* names of parameters have a case */
    incoming_done(&event);
}

/* All but the connection's id may be null, or not there. */
static const char *const bare_events[] = {
    "{" CONTEXT("CONNECT") "}",
    "{\"headers\":null,\"multiValueHeaders\":null,\"queryStringParameters\":null,"
    "\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\",\"routeKey\":null,"
    "\"stage\":null,\"connectedAt\":null,\"identity\":null,\"requestId\":null,\"messageId\":null,"
    "\"domainName\":null,\"apiId\":null,\"authorizer\":null,\"disconnectStatusCode\":null,"
    "\"disconnectReason\":null},\"isBase64Encoded\":null,\"body\":null}",
    "{\"headers\":7,\"queryStringParameters\":[],"
    "\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\",\"routeKey\":{},"
    "\"stage\":1,\"connectedAt\":\"soon\",\"identity\":\"me\",\"requestId\":true,\"messageId\":[],"
    "\"domainName\":1,\"apiId\":2,\"authorizer\":\"u1\",\"disconnectStatusCode\":\"x\","
    "\"disconnectReason\":5},\"isBase64Encoded\":\"yes\",\"body\":{}}",
    "{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\","
    "\"identity\":{\"sourceIp\":null,\"userAgent\":null}}}",
};

static void test_a_connect_may_have_nothing_but_its_id(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bare_events); i++) {
        struct incoming event = parse(bare_events[i]);

        assert_int_equal(event.kind, INCOMING_CONNECT);
        assert_string_equal(event.connection_id, "c=");
        assert_null(event.request_id);
        assert_null(event.message_id);
        assert_null(event.route_key);
        assert_null(event.stage);
        assert_null(event.domain_name);
        assert_null(event.api_id);
        assert_null(event.source_ip);
        assert_null(event.user_agent);
        assert_int_equal(event.connected_at_ms, 0);
        assert_false(event.has_authorizer);
        assert_int_equal(event.code, 1005);
        assert_string_equal(event.reason, "");
        assert_null(incoming_header(&event, "Host"));
        assert_null(incoming_query(&event, "token"));
        incoming_done(&event);
    }
}

/* Settings that want a token would be none where this said yes. */
static void test_an_authorizer_is_one_that_says_something(void **state)
{
    static const struct {
        const char *authorizer;
        bool has_one;
    } examples[] = {
        {"{\"principalId\":\"u1\"}", true},
        {"{\"userId\":\"u1\",\"integrationLatency\":3}", true},
        {"{\"integrationLatency\":3}", false},
        {"{\"principalId\":null}", false},
        {"{}", false},
        {"null", false},
        {"\"u1\"", false},
        {"true", false},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
        struct incoming event;

        snprintf(text, sizeof(text),
                 "{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\","
                 "\"authorizer\":%s}}",
                 examples[i].authorizer);
        event = parse(text);
        if (event.has_authorizer != examples[i].has_one)
            fail_msg("%s", text);
        incoming_done(&event);
    }
}

static void expect_body(const char *members, const char *body)
{
    char text[300];
    struct incoming event;

    snprintf(text, sizeof(text), "{" CONTEXT("MESSAGE") "%s}", members);
    event = parse(text);
    assert_int_equal(event.kind, INCOMING_MESSAGE);
    if (body)
        assert_string_equal(event.body, body);
    else
        assert_null(event.body);
    incoming_done(&event);
}

static void test_a_message_has_a_body(void **state)
{
    (void)state;
    expect_body(",\"body\":\"{\\\"action\\\":\\\"x\\\"}\",\"isBase64Encoded\":false",
                "{\"action\":\"x\"}");
    expect_body(",\"body\":\"aGk=\"", "aGk=");
    expect_body(",\"body\":\"\"", "");
    expect_body(",\"body\":null", NULL);
    expect_body(",\"body\":7", NULL);
    expect_body("", NULL);
}

static void test_a_body_in_base64_is_decoded(void **state)
{
    (void)state;
    expect_body(",\"body\":\"aGk=\",\"isBase64Encoded\":true", "hi");
    expect_body(",\"body\":\"w6k\",\"isBase64Encoded\":true", "\xc3\xa9");
    expect_body(",\"body\":\"\",\"isBase64Encoded\":true", "");
    expect_body(",\"body\":\"aGk=\",\"isBase64Encoded\":\"true\"", "aGk=");
    expect_body(",\"body\":null,\"isBase64Encoded\":true", NULL);
    /* No base64; not UTF-8; a NUL: as they came. */
    expect_body(",\"body\":\"{}\",\"isBase64Encoded\":true", "{}");
    expect_body(",\"body\":\"/w==\",\"isBase64Encoded\":true", "/w==");
    expect_body(",\"body\":\"aABp\",\"isBase64Encoded\":true", "aABp");
}

static void test_a_disconnect_has_code_and_reason(void **state)
{
    struct incoming event =
        parse("{\"requestContext\":{\"eventType\":\"DISCONNECT\",\"connectionId\":\"c=\","
              "\"disconnectStatusCode\":1001,\"disconnectReason\":\"Going away\"}}");

    (void)state;
    assert_int_equal(event.code, 1001);
    assert_string_equal(event.reason, "Going away");
    incoming_done(&event);
}

static void test_an_authorizers_event_needs_no_context(void **state)
{
    struct incoming event =
        parse("{\"type\":\"REQUEST\",\"methodArn\":\"arn:aws:x\",\"requestContext\":null,"
              "\"headers\":{\"authorization\":\"Bearer t\"}}");

    (void)state;
    assert_int_equal(event.kind, INCOMING_AUTHORIZER);
    assert_string_equal(event.method_arn, "arn:aws:x");
    assert_null(event.request_context);
    assert_null(event.connection_id);
    assert_string_equal(incoming_header(&event, "Authorization"), "Bearer t");
    incoming_done(&event);
}

/* ---- what SQL gets of a CONNECT ---- */

static void expect_connect(const char *text, const char *authorizer, const char *expected)
{
    struct incoming event = parse(text);
    struct buf out;

    buf_init(&out, SIZE_MAX);
    incoming_write_connect(&event, authorizer, &out);
    assert_string_equal(buf_str(&out), expected);
    buf_done(&out);
    incoming_done(&event);
}

static void test_a_connect_is_written_again_without_what_nobody_reads(void **state)
{
    (void)state;
    expect_connect(full_connect, NULL,
                   "{\"headers\":{\"Host\":\"abc.example\",\"X-A\":\"1\",\"x-a\":\"2\",\"Odd\":7},"
                   "\"queryStringParameters\":{\"token\":\"t t\",\"empty\":\"\"},"
                   "\"requestContext\":{\"routeKey\":\"$connect\",\"eventType\":\"CONNECT\","
                   "\"stage\":\"dev\",\"connectedAt\":1645556857902,"
                   "\"identity\":{\"sourceIp\":\"10.0.0.13\",\"userAgent\":\"ws/8\"},"
                   "\"requestId\":\"r=\",\"messageId\":null,\"domainName\":\"abc.example\","
                   "\"connectionId\":\"c=\",\"apiId\":\"abc\","
                   "\"authorizer\":{\"principalId\":\"u1\",\"tenant\":\"7\"}}}");
}

static void test_what_a_token_said_takes_the_place_of_the_authorizer(void **state)
{
    static const char bare[] = "{" CONTEXT("CONNECT") "}";

    (void)state;
    expect_connect(bare, NULL, bare);
    expect_connect(bare, "{\"principalId\":\"u2\"}",
                   "{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\","
                   "\"authorizer\":{\"principalId\":\"u2\"}}}");
    expect_connect("{\"headers\":null,\"requestContext\":{\"eventType\":\"CONNECT\","
                   "\"authorizer\":{\"principalId\":\"u1\"},\"connectionId\":\"c=\"}}",
                   "{\"principalId\":\"u2\"}",
                   "{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\","
                   "\"authorizer\":{\"principalId\":\"u2\"}}}");
    expect_connect("{\"requestContext\":{\"eventType\":\"CONNECT\",\"connectionId\":\"c=\","
                   "\"authorizer\":null}}",
                   NULL, bare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_is_known_by_its_members),
        cmocka_unit_test(test_the_first_kind_that_fits_counts),
        cmocka_unit_test(test_what_only_looks_alike_is_something_else),
        cmocka_unit_test(test_what_is_no_json_object_is_no_event),
        cmocka_unit_test(test_each_kind_has_a_name_of_its_own),
        cmocka_unit_test(test_a_connect_has_everything),
        cmocka_unit_test(test_a_connect_may_have_nothing_but_its_id),
        cmocka_unit_test(test_an_authorizer_is_one_that_says_something),
        cmocka_unit_test(test_a_message_has_a_body),
        cmocka_unit_test(test_a_body_in_base64_is_decoded),
        cmocka_unit_test(test_a_disconnect_has_code_and_reason),
        cmocka_unit_test(test_an_authorizers_event_needs_no_context),
        cmocka_unit_test(test_a_connect_is_written_again_without_what_nobody_reads),
        cmocka_unit_test(test_what_a_token_said_takes_the_place_of_the_authorizer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

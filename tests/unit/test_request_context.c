/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_request_context.c - the values that an event offers to expressions.
 */
#include "request_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <string.h>

static const char request[] =
    "GET /dev?tenant=one&tenant=two&a%2Bb=x+%26%20y&bad=%zz&empty= HTTP/1.1\r\n"
    "Host: abc.example\r\n"
    "aUtHoRiZaTiOn: tok\r\n"
    "X-Twice: first\r\n"
    "X-Empty:\r\n"
    "X-Twice: second\r\n"
    "\r\n";

static void fill(struct request_context *context)
{
    request_context_init(context);
    context->api_id = "abc1234567";
    context->stage = "dev";
    context->route_key = "sendmessage";
    context->event_type = "MESSAGE";
    context->connection_id = "gbgEXa8pzQAYKEi_gA==";
    context->message_id = "gbgEYu8yQQAYKEi_gA==";
    context->request_id = "EOpkcGiZIAMEmQw=";
    context->domain_name = "abc.example";
    context->source_ip = "203.0.113.7";
    context->user_agent = "my-client \"7\"";
    context->connected_at_ms = 1790295166108;
    context->request_time_ms = 1790295166109;
    context->authorizer = "{\"principalId\":\"user-1\",\"number\":7,\"is\":true,\"nothing\":null}";
}

/* NULL: not set. */
static void assert_is(const struct request_context *context, const char *name, const char *expected)
{
    struct buf out;

    buf_init(&out, 1000);
    buf_adds(&out, "7");
    if (request_context_get(context, name, strlen(name), &out) != (expected != NULL))
        fail_msg("%s is %s", name, expected ? "not set" : buf_str(&out));
    if (strcmp(buf_str(&out) + 1, expected ? expected : "") != 0)
        fail_msg("%s is %s", name, buf_str(&out));
    buf_done(&out);
}

static void test_variables_of_a_message(void **state)
{
    struct request_context context;

    (void)state;
    fill(&context);
    assert_is(&context, "apiId", "abc1234567");
    assert_is(&context, "stage", "dev");
    assert_is(&context, "routeKey", "sendmessage");
    assert_is(&context, "eventType", "MESSAGE");
    assert_is(&context, "connectionId", "gbgEXa8pzQAYKEi_gA==");
    assert_is(&context, "messageId", "gbgEYu8yQQAYKEi_gA==");
    assert_is(&context, "requestId", "EOpkcGiZIAMEmQw=");
    assert_is(&context, "extendedRequestId", "EOpkcGiZIAMEmQw=");
    assert_is(&context, "domainName", "abc.example");
    assert_is(&context, "connectedAt", "1790295166108");
    assert_is(&context, "requestTime", "25/Sep/2026:00:12:46 +0000");
    assert_is(&context, "requestTimeEpoch", "1790295166109");
    assert_is(&context, "identity.sourceIp", "203.0.113.7");
    assert_is(&context, "identity.userAgent", "my-client \"7\"");
    assert_is(&context, "authorizer.principalId", "user-1");
    assert_is(&context, "authorizer.number", "7");
    assert_is(&context, "authorizer.is", "true");
}

static void test_what_is_not_set_has_no_value(void **state)
{
    static const char *const names[] = {"",
                                        "status",
                                        "integrationLatency",
                                        "disconnectStatusCode",
                                        "error.message",
                                        "error.messageString",
                                        "error.validationErrorString",
                                        "authorizer",
                                        "authorizer.",
                                        "authorizer.nothing",
                                        "authorizer.other",
                                        "authorizer.status",
                                        "authorizer.latency",
                                        "identity",
                                        "identity.caller",
                                        "identity.accountId",
                                        "integration.status",
                                        "waf.status",
                                        "sourceIp",
                                        "StageX",
                                        "stage.x"};
    struct request_context context;

    (void)state;
    fill(&context);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_is(&context, names[i], NULL);
}

static void test_variables_of_an_access_log(void **state)
{
    struct request_context context;

    (void)state;
    fill(&context);
    context.status = 502;
    context.integration_latency_ms = 0;
    context.error_message = "a \"quoted\"\nmessage";
    context.error_response_type = "INTEGRATION_FAILURE";
    context.authorizer_status = 200;
    context.authorizer_latency_ms = 25;
    context.authorizer_error = "it";
    context.caller = "AIDA";
    context.api_key = "key";
    context.extended_request_id = "other";
    context.disconnect_code = 1000;
    context.disconnect_reason = "";
    assert_is(&context, "status", "502");
    assert_is(&context, "integrationLatency", "0");
    assert_is(&context, "error.message", "a \"quoted\"\nmessage");
    assert_is(&context, "error.messageString", "\"a \\\"quoted\\\"\\nmessage\"");
    assert_is(&context, "error.responseType", "INTEGRATION_FAILURE");
    assert_is(&context, "authorizer.status", "200");
    assert_is(&context, "authorizer.integrationStatus", "200");
    assert_is(&context, "authorizer.latency", "25");
    assert_is(&context, "authorizer.integrationLatency", "25");
    assert_is(&context, "authorizer.error", "it");
    assert_is(&context, "identity.caller", "AIDA");
    assert_is(&context, "identity.user", "AIDA");
    assert_is(&context, "identity.userArn", "AIDA");
    assert_is(&context, "identity.apiKey", "key");
    assert_is(&context, "extendedRequestId", "other");
    assert_is(&context, "disconnectStatusCode", "1000");
    assert_is(&context, "disconnectReason", "");
}

static void test_a_property_comes_before_the_figure_of_its_name(void **state)
{
    struct request_context context;

    (void)state;
    request_context_init(&context);
    context.authorizer = "{\"status\":\"gold\"}";
    context.authorizer_status = 200;
    assert_is(&context, "authorizer.status", "gold");
    assert_is(&context, "authorizer.integrationStatus", "200");
}

static void test_an_authorizer_that_is_no_object_has_no_values(void **state)
{
    static const char *const texts[] = {"[1]", "7", "nonsense", ""};
    struct request_context context;

    (void)state;
    request_context_init(&context);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        context.authorizer = texts[i];
        assert_is(&context, "authorizer.principalId", NULL);
    }
}

static void test_the_whole_context(void **state)
{
    struct request_context context;
    struct buf out;

    (void)state;
    request_context_init(&context);
    buf_init(&out, 1000);
    request_context_write(&context, &out);
    assert_string_equal(buf_str(&out), "{}");
    buf_clear(&out);
    context.stage = "dev";
    context.status = 200;
    context.source_ip = "203.0.113.7";
    context.authorizer = "{\"principalId\":\"u\",\"latency\":1}";
    context.authorizer_latency_ms = 25;
    context.authorizer_status = 200;
    buf_adds(&out, "7");
    request_context_write(&context, &out);
    assert_string_equal(buf_str(&out),
                        "7{stage=dev, status=200, authorizer={principalId=u, latency=1, status=200,"
                        " integrationStatus=200, integrationLatency=25}, "
                        "identity={sourceIp=203.0.113.7}}");
    buf_clear(&out);
    request_context_json(&context, &out);
    assert_string_equal(buf_str(&out),
                        "{\"stage\":\"dev\",\"status\":200,\"authorizer\":{\"principalId\":\"u\","
                        "\"latency\":1,\"status\":200,\"integrationStatus\":200,"
                        "\"integrationLatency\":25},\"identity\":{\"sourceIp\":\"203.0.113.7\"}}");
    buf_done(&out);
}

/* NULL: it has none. */
static void assert_source(struct event_values *values, const char *source, const char *expected)
{
    struct error err;
    struct buf out;

    if (event_source_check(source, &err))
        fail_msg("%s", err.text);
    buf_init(&out, 1000);
    buf_adds(&out, "x");
    if (event_source_get(source, values, &out) != (expected != NULL))
        fail_msg("%s is %s", source, expected ? "not there" : buf_str(&out));
    if (strcmp(buf_str(&out) + 1, expected ? expected : "") != 0)
        fail_msg("%s is %s", source, buf_str(&out));
    buf_done(&out);
}

static void test_sources_of_a_handshake(void **state)
{
    struct request_context context;
    struct http_head head;
    struct event_values values = {.context = &context, .head = &head};

    (void)state;
    fill(&context);
    assert_int_equal(http_head_parse(request, strlen(request), &head, NULL), OK);
    assert_source(&values, "route.request.header.Authorization", "tok");
    assert_source(&values, "route.request.header.x-twice", "second");
    assert_source(&values, "route.request.multivalueheader.X-Twice", "first,second");
    assert_source(&values, "route.request.header.X-Empty", "");
    assert_source(&values, "route.request.header.X-None", NULL);
    assert_source(&values, "route.request.querystring.tenant", "two");
    assert_source(&values, "route.request.multivaluequerystring.tenant", "one,two");
    assert_source(&values, "route.request.querystring.empty", "");
    assert_source(&values, "route.request.querystring.Tenant", NULL);
    assert_source(&values, "route.request.querystring.bad", "%zz");
    assert_source(&values, "route.request.body", NULL);
    assert_source(&values, "route.request.body.a", NULL);
    assert_source(&values, "stageVariables.phase", NULL);
    assert_source(&values, "context.connectionId", "gbgEXa8pzQAYKEi_gA==");
    assert_source(&values, "context.identity.sourceIp", "203.0.113.7");
    assert_source(&values, "context.status", NULL);
    assert_source(&values, "context.unknown", NULL);
    assert_source(&values, "'a literal'", "a literal");
    assert_source(&values, "''", "");
    event_values_done(&values);
}

static void test_names_in_a_query_are_decoded(void **state)
{
    struct http_head head;
    struct event_values values = {.head = &head};
    struct buf out;

    (void)state;
    assert_int_equal(http_head_parse(request, strlen(request), &head, NULL), OK);
    buf_init(&out, 100);
    assert_true(event_query_get(&values, (struct slice){"a+b", 3}, &out));
    assert_string_equal(buf_str(&out), "x & y");
    buf_clear(&out);
    assert_true(event_header_get(&values, (struct slice){"HOST", 4}, &out));
    assert_string_equal(buf_str(&out), "abc.example");
    buf_done(&out);
}

static void test_sources_of_a_message(void **state)
{
    static const char body[] = "{\"room\":\"lobby\",\"l\":[1,\"two\"],\"n\":null,\"e\":\"\"}";
    static const char variables[] = "{\"phase\":\"initial\",\"n\":7}";
    struct request_context context;
    struct json *stage_variables = NULL;
    struct event_values values = {.context = &context, .body = body, .body_len = strlen(body)};

    (void)state;
    fill(&context);
    assert_int_equal(json_parse(variables, strlen(variables), &stage_variables, NULL), OK);
    values.stage_variables = stage_variables;
    assert_source(&values, "route.request.body", body);
    assert_source(&values, "route.request.body.room", "lobby");
    assert_source(&values, "route.request.body['room']", "lobby");
    assert_source(&values, "route.request.body.l", "[1, two]");
    assert_source(&values, "route.request.body.l[1]", "two");
    assert_source(&values, "route.request.body.n", "null");
    assert_source(&values, "route.request.body.e", "");
    assert_source(&values, "route.request.body.none", NULL);
    assert_source(&values, "route.request.header.Host", NULL);
    assert_source(&values, "route.request.querystring.tenant", NULL);
    assert_source(&values, "stageVariables.phase", "initial");
    assert_source(&values, "stageVariables.n", NULL);
    assert_source(&values, "stageVariables.none", NULL);
    event_values_done(&values);
    json_free(stage_variables);
}

static void test_a_body_that_is_not_json_has_no_members(void **state)
{
    struct request_context context;
    struct event_values values = {.context = &context, .body = "plain", .body_len = 5};

    (void)state;
    fill(&context);
    assert_source(&values, "route.request.body", "plain");
    assert_source(&values, "route.request.body.a", NULL);
    assert_null(event_values_json(&values));
    assert_true(values.is_parsed); /* not tried again for each source */
    event_values_done(&values);
}

static void test_what_is_no_source_is_refused(void **state)
{
    static const struct {
        const char *source;
        const char *what;
    } cases[] = {
        {"", "is none of"},
        {"$request.header.Authorization", "is none of"},
        {"$context.stage", "is none of"},
        {"route.request.header", "is none of"},
        {"route.request.path.x", "is none of"},
        {"route.request.header.", "a name of"},
        {"route.request.header.a b", "a name of"},
        {"route.request.querystring.a/b", "a name of"},
        {"stageVariables.", "a name of"},
        {"context.", "a name of"},
        {"context.a$b", "a name of"},
        {"route.request.bodyx", "a path is expected at byte 18"},
        {"route.request.body.a b", "a path is expected at byte 20"},
        {"route.request.body.", "a member's name is expected at byte 19"},
        {"route.request.body[", "an index, a quoted name or * is expected at byte 19"},
        {"'open", "one closing quote"},
        {"'it's'", "one closing quote"},
        {"'", "one closing quote"},
        {"'a'b", "one closing quote"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = {.text = ""};

        if (event_source_check(cases[i].source, &err) != INVALID)
            fail_msg("taken: %s", cases[i].source);
        if (!strstr(err.text, cases[i].what))
            fail_msg("%s: %s", cases[i].source, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variables_of_a_message),
        cmocka_unit_test(test_what_is_not_set_has_no_value),
        cmocka_unit_test(test_variables_of_an_access_log),
        cmocka_unit_test(test_a_property_comes_before_the_figure_of_its_name),
        cmocka_unit_test(test_an_authorizer_that_is_no_object_has_no_values),
        cmocka_unit_test(test_the_whole_context),
        cmocka_unit_test(test_sources_of_a_handshake),
        cmocka_unit_test(test_names_in_a_query_are_decoded),
        cmocka_unit_test(test_sources_of_a_message),
        cmocka_unit_test(test_a_body_that_is_not_json_has_no_members),
        cmocka_unit_test(test_what_is_no_source_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

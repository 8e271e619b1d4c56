/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mapping.c - request parameters.
 */
#include "mapping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <string.h>

static enum status create(const char *text, struct mapping **out, struct error *err)
{
    struct json *json = NULL;
    enum status st;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), OK);
    st = mapping_create(json, out, err);
    json_free(json); /* the mapping has copies */
    return st;
}

static void collect(void *ctx, enum mapping_target target, const char *name, const char *value)
{
    buf_addf(ctx, "%c %s=%s\n", "hqp"[target], name, value);
}

static void assert_maps(const char *text, struct event_values *values, const char *expected)
{
    struct mapping *mapping = NULL;
    struct error err;
    struct buf out;

    if (create(text, &mapping, &err))
        fail_msg("%s", err.text);
    buf_init(&out, 1000);
    mapping_apply(mapping, values, collect, &out);
    assert_string_equal(buf_str(&out), expected);
    buf_done(&out);
    mapping_free(mapping);
}

static void test_the_documented_example(void **state)
{
    static const char request[] = "GET /dev?token=a%20b HTTP/1.1\r\nHost: h\r\n\r\n";
    struct request_context context;
    struct http_head head;
    struct event_values values = {.context = &context, .head = &head};

    (void)state;
    request_context_init(&context);
    context.connection_id = "gbgEXa8pzQAYKEi_gA==";
    context.stage = "dev";
    context.api_id = "abc1234567";
    assert_int_equal(http_head_parse(request, strlen(request), &head, NULL), OK);
    assert_maps("{\"integration.request.header.connectionId\":\"context.connectionId\","
                "\"integration.request.header.stageName\":\"context.stage\","
                "\"integration.request.header.apiId\":\"context.apiId\","
                "\"integration.request.querystring.token\":\"route.request.querystring.token\","
                "\"integration.request.header.Sec-WebSocket-Version\":\"'0'\"}",
                &values,
                "h connectionId=gbgEXa8pzQAYKEi_gA==\nh stageName=dev\nh apiId=abc1234567\n"
                "q token=a b\nh Sec-WebSocket-Version=0\n");
}

static void test_what_has_no_value_is_left_out(void **state)
{
    struct request_context context;
    struct event_values values = {.context = &context, .body = "{\"room\":\"\"}", .body_len = 11};

    (void)state;
    request_context_init(&context);
    assert_maps("{\"integration.request.header.a\":\"context.stage\","
                "\"integration.request.path.room\":\"route.request.body.room\","
                "\"integration.request.path.other\":\"route.request.body.other\","
                "\"integration.request.querystring.q\":\"route.request.header.q\"}",
                &values, "p room=\n");
    assert_maps("{}", &values, "");
    event_values_done(&values);
}

/* A message must not put headers of its own into a request. */
static void test_a_value_with_a_line_break_is_left_out(void **state)
{
    static const char body[] =
        "{\"a\":\"x\\r\\nHost: evil\",\"b\":\"x\\ny\",\"c\":\"x\\ry\",\"d\":\"ok\"}";
    struct request_context context;
    struct event_values values = {.context = &context, .body = body, .body_len = strlen(body)};
    struct event_values raw = {.context = &context, .body = "a\0b", .body_len = 3};

    (void)state;
    request_context_init(&context);
    assert_maps("{\"integration.request.header.a\":\"route.request.body.a\","
                "\"integration.request.header.b\":\"route.request.body.b\","
                "\"integration.request.querystring.c\":\"route.request.body.c\","
                "\"integration.request.header.d\":\"route.request.body.d\"}",
                &values, "h d=ok\n");
    assert_maps("{\"integration.request.header.a\":\"route.request.body\"}", &raw, "");
    event_values_done(&values);
    event_values_done(&raw);
}

static void test_what_is_no_parameter_is_refused_by_name(void **state)
{
    static const struct {
        const char *text;
        const char *what;
    } cases[] = {
        {"[]", "must be an object"},
        {"{\"integration.request.header.a\":7}",
         "\"integration.request.header.a\" must be a string"},
        {"{\"integration.request.body.a\":\"context.stage\"}",
         "\"integration.request.body.a\" is none"},
        {"{\"method.request.header.a\":\"context.stage\"}", "is none of integration.request"},
        {"{\"integration.request.header.\":\"context.stage\"}", "is no name of a header"},
        {"{\"integration.request.header.a b\":\"context.stage\"}",
         "\"a b\" is no name of a header"},
        {"{\"integration.request.header.a:\":\"context.stage\"}", "is no name of a header"},
        {"{\"integration.request.header.host\":\"context.stage\"}",
         "host belongs to the connection"},
        {"{\"integration.request.header.Content-Length\":\"'1'\"}", "belongs to the connection"},
        {"{\"integration.request.header.Transfer-Encoding\":\"'1'\"}", "belongs to the connection"},
        {"{\"integration.request.header.CONNECTION\":\"'1'\"}", "belongs to the connection"},
        {"{\"integration.request.querystring.\":\"'1'\"}", "a name is expected"},
        {"{\"integration.request.querystring.a\\nb\":\"'1'\"}", "a name is expected"},
        {"{\"integration.request.path.a/b\":\"'1'\"}", "has no {, } or /"},
        {"{\"integration.request.header.a\":\"context.stage\","
         "\"integration.request.header.b\":\"$context.stage\"}",
         "\"integration.request.header.b\": source \"$context.stage\" is none of"},
        {"{\"integration.request.header.b\":\"route.request.body.\"}", "at byte 19"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mapping *mapping = NULL;
        struct error err = {.text = ""};

        if (create(cases[i].text, &mapping, &err) != INVALID)
            fail_msg("taken: %s", cases[i].text);
        if (!strstr(err.text, cases[i].what))
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_null(mapping);
        assert_int_equal(create(cases[i].text, &mapping, NULL), INVALID);
    }
    mapping_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_documented_example),
        cmocka_unit_test(test_what_has_no_value_is_left_out),
        cmocka_unit_test(test_a_value_with_a_line_break_is_left_out),
        cmocka_unit_test(test_what_is_no_parameter_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

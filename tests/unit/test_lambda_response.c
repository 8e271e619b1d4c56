/* SPDX-License-Identifier: Apache-2.0 */
#include "lambda_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_kind(const char *text, bool is_error, enum lambda_response_kind kind)
{
    struct lambda_response response;

    lambda_response_parse(text, strlen(text), is_error, &response);
    if (response.kind != kind)
        fail_msg("%s: kind %d instead of %d", text, (int)response.kind, (int)kind);
    if (kind != LAMBDA_RESPONSE_PROXY) {
        assert_int_equal(response.status, 0);
        assert_null(response.body);
        assert_null(response.subprotocol);
    }
    lambda_response_done(&response);
}

static void expect_proxy(const char *text, int status, const char *body, const char *subprotocol)
{
    struct lambda_response response;

    lambda_response_parse(text, strlen(text), false, &response);
    assert_int_equal(response.kind, LAMBDA_RESPONSE_PROXY);
    assert_int_equal(response.status, status);
    if (body) {
        assert_string_equal(response.body, body);
        assert_int_equal(response.body_len, strlen(body));
    } else {
        assert_null(response.body);
        assert_int_equal(response.body_len, 0);
    }
    if (subprotocol)
        assert_string_equal(response.subprotocol, subprotocol);
    else
        assert_null(response.subprotocol);
    assert_null(response.error_message);
    lambda_response_done(&response);
}

static void test_proxy_response_is_read(void **state)
{
    (void)state;
    expect_proxy("{\"statusCode\":200}", 200, NULL, NULL);
    expect_proxy(" {\"statusCode\":503,\"body\":\"\",\"headers\":{},\"multiValueHeaders\":{},"
                 "\"isBase64Encoded\":false,\"more\":[1]}\n",
                 503, "", NULL);
    expect_proxy("{\"statusCode\":401,\"body\":\"{\\\"a\\\": \\u00e4}\"}", 401, "{\"a\": \xC3\xA4}",
                 NULL);
    expect_proxy("{\"statusCode\":200,\"body\":null,\"headers\":null,\"multiValueHeaders\":null,"
                 "\"isBase64Encoded\":null}",
                 200, NULL, NULL);
    expect_proxy("{\"statusCode\":500,\"errorMessage\":\"x\"}", 500, NULL, NULL);
}

static void test_what_is_no_character_is_replaced(void **state)
{
    (void)state;
    expect_proxy("{\"statusCode\":200,\"body\":\"a\\u0000b\\\\u0000\"}", 200,
                 "a\xEF\xBF\xBD"
                 "b\\u0000",
                 NULL);
    expect_proxy("{\"statusCode\":200,\"body\":\"\\ud83d\\uDE00 \\ud83d \\uDE00\\ud83d\"}", 200,
                 "\xF0\x9F\x98\x80 \xEF\xBF\xBD \xEF\xBF\xBD\xEF\xBF\xBD", NULL);
    expect_kind("{\"statusCode\":200,\"body\":\"\\u000\"}", false, LAMBDA_RESPONSE_MALFORMED);
    expect_kind("{\"statusCode\":200,\"body\":\"\\ud83d\\u00", false, LAMBDA_RESPONSE_MALFORMED);
    expect_kind("\\", false, LAMBDA_RESPONSE_MALFORMED);
}

static void test_status_is_an_integer_or_its_digits(void **state)
{
    static const char *const wrong[] = {
        "{}",
        "{\"body\":\"x\"}",
        "{\"statusCode\":null}",
        "{\"statusCode\":true}",
        "{\"statusCode\":200.5}",
        "{\"statusCode\":\"\"}",
        "{\"statusCode\":\"abc\"}",
        "{\"statusCode\":\"20x\"}",
        "{\"statusCode\":\" 200\"}",
        "{\"statusCode\":\"+20\"}",
        "{\"statusCode\":\"0200\"}",
        "{\"statusCode\":[200]}",
        "{\"statusCode\":{}}",
        "{\"statusCode\":-200}",
        "{\"statusCode\":0}",
        "{\"statusCode\":101}",
        "{\"statusCode\":600}",
        "{\"statusCode\":1e300}",
    };

    (void)state;
    expect_proxy("{\"statusCode\":\"403\"}", 403, NULL, NULL);
    expect_proxy("{\"statusCode\":2.0e2}", 200, NULL, NULL);
    expect_proxy("{\"statusCode\":500,\"statusCode\":599}", 599, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        expect_kind(wrong[i], false, LAMBDA_RESPONSE_MALFORMED);
}

static void test_other_shapes_are_malformed(void **state)
{
    static const char *const wrong[] = {
        "200",
        "\"ok\"",
        "true",
        "[]",
        "[{\"statusCode\":200}]",
        "ok",
        "{\"statusCode\":200",
        "{\"statusCode\":200}x",
        "{\"statusCode\":200,\"body\":{}}",
        "{\"statusCode\":200,\"body\":7}",
        "{\"statusCode\":200,\"headers\":[]}",
        "{\"statusCode\":200,\"headers\":{\"Sec-WebSocket-Protocol\":\"a\"},\"body\":[]}",
        "{\"statusCode\":200,\"multiValueHeaders\":\"\"}",
        "{\"statusCode\":200,\"isBase64Encoded\":\"true\"}",
        "Task timed out after 3.00 seconds",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        expect_kind(wrong[i], false, LAMBDA_RESPONSE_MALFORMED);
}

static void test_null_and_nothing_are_no_answer(void **state)
{
    (void)state;
    expect_kind("null", false, LAMBDA_RESPONSE_NONE);
    expect_kind(" null\n", false, LAMBDA_RESPONSE_NONE);
    expect_kind("", false, LAMBDA_RESPONSE_NONE);
    expect_kind(" \r\n\t", false, LAMBDA_RESPONSE_NONE);
}

static void test_base64_body_is_decoded(void **state)
{
    struct lambda_response response;
    const char *with_nul = "{\"statusCode\":200,\"body\":\"YQBi\",\"isBase64Encoded\":true}";

    (void)state;
    expect_proxy("{\"statusCode\":200,\"body\":\"w6Q=\",\"isBase64Encoded\":true}", 200, "\xC3\xA4",
                 NULL);
    expect_proxy("{\"statusCode\":200,\"body\":\"w6Q=\",\"isBase64Encoded\":false}", 200,
                 "w6Q=", NULL);
    expect_proxy("{\"statusCode\":200,\"body\":\"\",\"isBase64Encoded\":true}", 200, "", NULL);
    expect_proxy("{\"statusCode\":200,\"isBase64Encoded\":true}", 200, NULL, NULL);
    /* 61 FF C3 62 ED A0 80: a, no character, half of one, b, a surrogate. */
    expect_proxy("{\"statusCode\":200,\"body\":\"Yf/DYu2ggA==\",\"isBase64Encoded\":true}", 200,
                 "a\xEF\xBF\xBD\xEF\xBF\xBD"
                 "b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD",
                 NULL);
    expect_kind("{\"statusCode\":200,\"body\":\"w6Q_\",\"isBase64Encoded\":true}", false,
                LAMBDA_RESPONSE_MALFORMED);
    expect_kind("{\"statusCode\":200,\"body\":\"not base64\",\"isBase64Encoded\":true,"
                "\"headers\":{\"Sec-WebSocket-Protocol\":\"a\"}}",
                false, LAMBDA_RESPONSE_MALFORMED);
    lambda_response_parse(with_nul, strlen(with_nul), false, &response);
    assert_int_equal(response.body_len, 3);
    assert_memory_equal(response.body, "a\0b", 4);
    lambda_response_done(&response);
}

#define WITH(headers) "{\"statusCode\":200," headers "}"

static void test_subprotocol_is_found(void **state)
{
    (void)state;
    expect_proxy(WITH("\"headers\":{\"X\":\"y\",\"sec-websocket-PROTOCOL\":\" graphql-ws\\t\"}"),
                 200, NULL, "graphql-ws");
    expect_proxy(WITH("\"multiValueHeaders\":{\"Sec-WebSocket-Protocol\":[\"a\",\"b\"]}"), 200,
                 NULL, "a");
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":\"a\"},"
                      "\"multiValueHeaders\":{\"sec-websocket-protocol\":[\"b\"]}"),
                 200, NULL, "b");
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":\"a\"},"
                      "\"multiValueHeaders\":{\"sec-websocket-protocol\":[]}"),
                 200, NULL, "a");
}

/* It would end the line that it is written to. */
static void test_what_is_no_subprotocol_is_none(void **state)
{
    (void)state;
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":\"a\\r\\nSet-Cookie: b\"}"), 200,
                 NULL, NULL);
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":\"a, b\"}"), 200, NULL, NULL);
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":\"\\u00e4\"}"), 200, NULL, NULL);
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":\" \"}"), 200, NULL, NULL);
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":7}"), 200, NULL, NULL);
    expect_proxy(WITH("\"headers\":{\"Sec-WebSocket-Protocol\":null}"), 200, NULL, NULL);
}

static void expect_error(const char *text, bool is_error, const char *message)
{
    struct lambda_response response;

    lambda_response_parse(text, strlen(text), is_error, &response);
    assert_int_equal(response.kind, LAMBDA_RESPONSE_ERROR);
    if (message)
        assert_string_equal(response.error_message, message);
    else
        assert_null(response.error_message);
    assert_null(response.body);
    lambda_response_done(&response);
}

static void test_function_error_is_told_from_an_answer(void **state)
{
    const char *raised = "{\"errorMessage\":\"boom\",\"errorType\":\"Error\",\"stackTrace\":[]}";

    (void)state;
    expect_error(raised, true, "boom");
    expect_error(raised, false, "boom");
    expect_error("{\"errorMessage\":\"boom\"}", false, "boom");
    expect_error("{\"statusCode\":200,\"body\":\"x\"}", true, NULL);
    expect_error("{\"errorMessage\":7}", true, NULL);
    expect_error("null", true, NULL);
    expect_error("", true, NULL);
    expect_error("out of memory", true, NULL);
    expect_kind("{\"errorMessage\":7,\"errorType\":\"Error\"}", false, LAMBDA_RESPONSE_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy_response_is_read),
        cmocka_unit_test(test_what_is_no_character_is_replaced),
        cmocka_unit_test(test_status_is_an_integer_or_its_digits),
        cmocka_unit_test(test_other_shapes_are_malformed),
        cmocka_unit_test(test_null_and_nothing_are_no_answer),
        cmocka_unit_test(test_base64_body_is_decoded),
        cmocka_unit_test(test_subprotocol_is_found),
        cmocka_unit_test(test_what_is_no_subprotocol_is_none),
        cmocka_unit_test(test_function_error_is_told_from_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

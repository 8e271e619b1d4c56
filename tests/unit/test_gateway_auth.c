/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_auth.h"

#include "buf.h"
#include "http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 4096 };

/* expected NULL: there is none. */
static void check_token(const char *target, const char *headers, const char *expected,
                        bool offers_bearer)
{
    struct gateway_token token = {0};
    struct http_head head;
    char text[BYTES];

    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n%s\r\n", target, headers);
    assert_int_equal(http_head_parse(text, strlen(text), &head, NULL), OK);
    gateway_find_token(&head, &token);
    if (expected)
        assert_string_equal(token.text, expected);
    else
        assert_null(token.text);
    assert_int_equal(token.offers_bearer, offers_bearer);
    free(token.text);
}

static void test_the_token_is_found_in_all_three_places(void **state)
{
    (void)state;
    check_token("/dev?token=a.b.c", "", "a.b.c", false);
    check_token("/dev", "Authorization: Bearer a.b.c\r\n", "a.b.c", false);
    check_token("/dev", "Sec-WebSocket-Protocol: bearer, a.b.c\r\n", "a.b.c", true);
    check_token("/dev", "", NULL, false);
    check_token("/dev?", "", NULL, false);
}

static void test_the_last_token_of_the_query_counts(void **state)
{
    (void)state;
    check_token("/dev?token=first&x=1&token=second", "", "second", false);
    check_token("/dev?token=first&token=", "", NULL, false);
    check_token("/dev?%74oken=a%2Eb", "", "a.b", false);
    check_token("/dev?Token=a&tokens=b&xtoken=c", "", NULL, false);
    check_token("/dev?token=%zz", "", NULL, false);
    check_token("/dev?token=a%00b", "", NULL, false);
}

static void test_what_is_empty_leaves_it_to_the_next_place(void **state)
{
    (void)state;
    check_token("/dev?token=", "Authorization: Bearer header\r\n", "header", false);
    check_token("/dev?token=query", "Authorization: Bearer header\r\n", "query", false);
    check_token("/dev", "Authorization: Bearer \r\nSec-WebSocket-Protocol: bearer,x\r\n", "x",
                true);
    check_token("/dev?token=query", "Sec-WebSocket-Protocol: bearer,x\r\n", "query", true);
}

static void test_only_bearer_is_a_token(void **state)
{
    (void)state;
    check_token("/dev", "authorization: bEARER   x\r\n", "x", false);
    check_token("/dev", "Authorization: Basic x\r\n", NULL, false);
    check_token("/dev", "Authorization: Bearerx\r\n", NULL, false);
    check_token("/dev", "Authorization: Bearer\r\n", NULL, false);
    check_token("/dev", "Authorization: x\r\n", NULL, false);
}

static void test_the_subprotocol_behind_bearer_is_the_token(void **state)
{
    (void)state;
    check_token("/dev", "Sec-WebSocket-Protocol: chat, bearer ,\ta.b.c\t, more\r\n", "a.b.c", true);
    check_token("/dev", "Sec-WebSocket-Protocol: bearer\r\nSec-WebSocket-Protocol: a\r\n", "a",
                true);
    check_token("/dev", "Sec-WebSocket-Protocol: bearer\r\n", NULL, false);
    check_token("/dev", "Sec-WebSocket-Protocol: bearer,\r\n", NULL, false);
    check_token("/dev", "Sec-WebSocket-Protocol: a, bearer\r\n", NULL, false);
    check_token("/dev", "Sec-WebSocket-Protocol: BEARER, a\r\n", NULL, false);
    check_token("/dev", "Sec-WebSocket-Protocol: ,,,\r\n", NULL, false);
}

static void check_authorizer(const char *claims, const char *expected, int64_t expires_s)
{
    struct buf out;

    buf_init(&out, BYTES);
    assert_int_equal(gateway_write_authorizer(claims, strlen(claims), &out), expires_s);
    assert_string_equal(buf_str(&out), expected);
    buf_done(&out);
}

static void test_claims_become_texts(void **state)
{
    (void)state;
    check_authorizer("{}", "{}", 0);
    check_authorizer("{\"a\":\"x\",\"n\":7,\"b\":true,\"c\":false,\"e\":\"\"}",
                     "{\"a\":\"x\",\"n\":\"7\",\"b\":\"true\",\"c\":\"false\",\"e\":\"\"}", 0);
    check_authorizer("{\"roles\": [\"a\", \"b\"],\"o\":{\"k\":1}}",
                     "{\"roles\":\"[\\\"a\\\",\\\"b\\\"]\",\"o\":\"{\\\"k\\\":1}\"}", 0);
    check_authorizer("{\"gone\":null}", "{}", 0);
    check_authorizer("{\"a\":1,\"a\":2}", "{\"a\":\"2\"}", 0);
}

static void test_the_principal_is_sub_or_the_user_id(void **state)
{
    (void)state;
    check_authorizer("{\"sub\":\"s\",\"userId\":\"u\"}",
                     "{\"principalId\":\"s\",\"sub\":\"s\",\"userId\":\"u\"}", 0);
    check_authorizer("{\"userId\":7}", "{\"principalId\":\"7\",\"userId\":\"7\"}", 0);
    check_authorizer("{\"sub\":null,\"userId\":\"u\"}", "{\"principalId\":\"u\",\"userId\":\"u\"}",
                     0);
    check_authorizer("{\"principalId\":\"p\",\"sub\":\"s\"}",
                     "{\"principalId\":\"s\",\"sub\":\"s\"}", 0);
    check_authorizer("{\"principalId\":\"p\"}", "{\"principalId\":\"p\"}", 0);
}

static void test_the_expiry_is_found(void **state)
{
    (void)state;
    check_authorizer("{\"exp\":1800000000}", "{\"exp\":\"1800000000\"}", 1800000000);
    check_authorizer("{\"exp\":1800000000.9}", "{\"exp\":\"1800000000.9\"}", 1800000000);
    check_authorizer("{\"exp\":\"1800000000\"}", "{\"exp\":\"1800000000\"}", 0);
    check_authorizer("{\"exp\":1e300}", "{\"exp\":\"1e+300\"}", 0);
    check_authorizer("{\"exp\":-1}", "{\"exp\":\"-1\"}", 0);
}

static void test_what_is_no_object_has_no_claims(void **state)
{
    (void)state;
    check_authorizer("", "{}", 0);
    check_authorizer("[\"a\"]", "{}", 0);
    check_authorizer("{\"a\":", "{}", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_token_is_found_in_all_three_places),
        cmocka_unit_test(test_the_last_token_of_the_query_counts),
        cmocka_unit_test(test_what_is_empty_leaves_it_to_the_next_place),
        cmocka_unit_test(test_only_bearer_is_a_token),
        cmocka_unit_test(test_the_subprotocol_behind_bearer_is_the_token),
        cmocka_unit_test(test_claims_become_texts),
        cmocka_unit_test(test_the_principal_is_sub_or_the_user_id),
        cmocka_unit_test(test_the_expiry_is_found),
        cmocka_unit_test(test_what_is_no_object_has_no_claims),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

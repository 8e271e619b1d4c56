/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_route.c - route selection expressions.
 */
#include "route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_selects(const char *text, const char *body, const char *expected)
{
    struct route_expression *expression = NULL;
    struct error err;
    struct buf key;
    char *exact;

    if (route_compile(text, &expression, &err))
        fail_msg("%s", err.text);
    exact = mem_realloc(NULL, strlen(body)); /* no NUL: the sanitizer sees who reads on */
    memcpy(exact, body, strlen(body));
    buf_init(&key, 128);
    route_select(expression, exact, strlen(body), &key);
    if (strcmp(buf_str(&key), expected) != 0)
        fail_msg("%s of %s is %s and not %s", text, body, buf_str(&key), expected);
    buf_done(&key);
    free(exact);
    route_free(expression);
}

/* The table of the API Gateway documentation and of what was measured there. */
static void test_a_member_selects_its_text(void **state)
{
    (void)state;
    assert_selects("$request.body.action", "{\"action\":\"join\"}", "join");
}

static void test_a_missing_member_selects_the_default(void **state)
{
    (void)state;
    assert_selects("$request.body.action", "{\"other\":1}", "$default");
    assert_selects("$request.body.action", "{}", "$default");
    assert_selects("$request.body.action", "{\"action\":\"\"}", "$default");
}

static void test_a_message_that_is_not_json_selects_the_default(void **state)
{
    (void)state;
    assert_selects("$request.body.action", "plain text", "$default");
    assert_selects("$request.body.action", "", "$default");
    assert_selects("$request.body.action", "{\"action\":\"join\"", "$default");
    assert_selects("$request.body.action", "{\"action\":\"join\"} x", "$default");
    assert_selects("join", "plain text", "$default");
    assert_selects("join", "{}", "join");
}

static void test_a_scalar_message_selects_the_default(void **state)
{
    (void)state;
    assert_selects("$request.body", "\"join\"", "$default");
    assert_selects("$request.body", "7", "$default");
    assert_selects("join", "null", "$default");
}

static void test_reserved_keys_cannot_be_named_by_a_client(void **state)
{
    (void)state;
    assert_selects("$request.body.action", "{\"action\":\"$default\"}", "$default");
    assert_selects("$request.body.action", "{\"action\":\"$connect\"}", "$default");
    assert_selects("$request.body.action", "{\"action\":\"$disconnect\"}", "$default");
    assert_selects("$request.body.action", "{\"action\":\"\\u0024connect\"}", "$default");
    assert_selects("$request.body.action", "{\"action\":\"a$connect\"}", "a$connect");
}

static void test_variables_and_literals_are_concatenated(void **state)
{
    (void)state;
    assert_selects("${request.body.service}/${request.body.action}",
                   "{\"service\":\"chat\",\"action\":\"join\"}", "chat/join");
    assert_selects("${request.body.action}-${request.body.v}", "{\"action\":\"join\"}", "join-");
    assert_selects("$request.body.a/$request.body.b", "{\"a\":1,\"b\":2}", "1/2");
    assert_selects("x${request.body.a}y", "{\"a\":true}", "xtruey");
    assert_selects("${request.body.a}${request.body.b}", "{}", "$default");
}

static void test_an_array_is_a_list_as_java_prints_it(void **state)
{
    (void)state;
    assert_selects("$request.body.a", "{\"a\":[\"x\",\"y\"]}", "[x, y]");
    assert_selects("$request.body.a", "{\"a\":[]}", "[]");
    assert_selects("$request.body.a", "{\"a\":[1,true,null,[\"x\",[]],{\"b\":[1,2]}]}",
                   "[1, true, null, [x, []], {\"b\":[1,2]}]");
    assert_selects("$request.body", "[1,\"b\"]", "[1, b]");
}

static void test_an_escaped_dollar_is_a_literal(void **state)
{
    (void)state;
    assert_selects("\\$default", "{\"action\":\"join\"}", "$default");
    assert_selects("\\$default", "not json", "$default");
    assert_selects("a\\$b\\c", "{}", "a$b\\c");
}

static void test_scalars_are_their_json_text(void **state)
{
    (void)state;
    assert_selects("$request.body.a", "{\"a\":7}", "7");
    assert_selects("$request.body.a", "{\"a\":-7}", "-7");
    assert_selects("$request.body.a", "{\"a\":1.5}", "1.5");
    assert_selects("$request.body.a", "{\"a\":true}", "true");
    assert_selects("$request.body.a", "{\"a\":false}", "false");
    assert_selects("$request.body.a", "{\"a\":null}", "null");
    assert_selects("$request.body.a", "{\"a\":\"gr\xC3\xBC\xC3\x9F \\\"\\u20ac\"}",
                   "gr\xC3\xBC\xC3\x9F \"\xE2\x82\xAC");
}

static void test_an_object_is_its_compact_json(void **state)
{
    (void)state;
    assert_selects("$request.body.a", "{\"a\": { \"b\" : [ 1 , \"c\" ] } }", "{\"b\":[1,\"c\"]}");
    assert_selects("x$request.body.a", "{\"a\": {\"b\":1}}", "x{\"b\":1}");
}

static void test_the_last_of_duplicate_members_decides(void **state)
{
    (void)state;
    assert_selects("$request.body.a", "{\"a\":\"1\",\"a\":\"2\"}", "2");
    assert_selects("$request.body.a.b", "{\"a\":{\"b\":1},\"a\":{}}", "$default");
    assert_selects("$request.body.a", "{\"a\":\"1\",\"\\u0061\":\"2\"}", "2");
}

static void test_case_matters(void **state)
{
    (void)state;
    assert_selects("$request.body.action", "{\"Action\":\"join\"}", "$default");
}

static void test_paths_go_into_objects_and_arrays(void **state)
{
    static const char body[] =
        "{\"a\":{\"b c\":{\"d\":[10,{\"e\":\"deep\"}]}},\"l\":[{\"n\":1},{\"n\":2},{}]}";

    (void)state;
    assert_selects("$request.body.a['b c'].d[0]", body, "10");
    assert_selects("${request.body.a[\"b c\"].d[1].e}", body, "deep");
    assert_selects("$request.body.a['b c'].d[2]", body, "$default");
    assert_selects("$request.body.a[0]", body, "$default");
    assert_selects("$request.body.l.n", body, "$default");
    assert_selects("$request.body.l[*].n", body, "[1, 2]");
    assert_selects("$request.body.l[*].x", body, "$default");
    assert_selects("$request.body.l[1].*", body, "[2]");
    assert_selects("${request.body.l[*].n}-${request.body.l[0].n}", body, "[1, 2]-1");
    assert_selects("$request.body.a.*.d[0]", body, "[10]");
    assert_selects("$request.body[1]", "[\"x\",\"y\"]", "y");
    assert_selects("$request.body[*]", "[\"x\",\"y\"]", "[x, y]");
    assert_selects("$request.body.a.*", "{\"a\":7}", "$default");
}

static void test_what_a_variable_gives_is_not_evaluated_again(void **state)
{
    (void)state;
    assert_selects("x$request.body.a", "{\"a\":\"$request.body.b\",\"b\":\"no\"}",
                   "x$request.body.b");
}

static void test_a_key_longer_than_the_limit_selects_the_default(void **state)
{
    char body[256];
    char key[130];

    (void)state;
    memset(key, 'k', sizeof(key));
    key[128] = '\0'; /* the limit of assert_selects */
    snprintf(body, sizeof(body), "{\"a\":\"%s\"}", key);
    assert_selects("$request.body.a", body, key);
    assert_selects("$request.body.a$request.body.b", body, key);
    assert_selects("$request.body.a/", body, "$default");
    snprintf(body, sizeof(body), "{\"a\":{\"%s\":0}}", key);
    assert_selects("$request.body.a", body, "$default");
    key[128] = 'k';
    key[129] = '\0';
    snprintf(body, sizeof(body), "{\"a\":\"%s\"}", key);
    assert_selects("$request.body.a", body, "$default");
}

static void test_a_key_is_added_behind_what_is_there(void **state)
{
    struct route_expression *expression;
    struct buf key;

    (void)state;
    assert_int_equal(route_compile("$request.body.a", &expression, NULL), OK);
    buf_init(&key, 100);
    buf_adds(&key, "key=");
    route_select(expression, "{\"a\":[1]}", 9, &key);
    assert_string_equal(buf_str(&key), "key=[1]");
    route_select(expression, "nothing", 7, &key);
    assert_string_equal(buf_str(&key), "key=[1]$default");
    buf_done(&key);
    route_free(expression);
}

static void test_broken_json_far_behind_the_member_still_counts(void **state)
{
    (void)state;
    assert_selects("$request.body.a", "{\"a\":\"x\",\"b\":[1,2,{\"c\":}]}", "$default");
    assert_selects("$request.body.a", "{\"a\":\"x\",\"b\":\"\xFF\"}", "$default");
    assert_selects("$request.body.a", "{\"a\":\"x\",\"b\":\"\\u0000\"}", "$default");
}

static void test_what_is_no_expression_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *what;
    } cases[] = {
        {"", "it is empty at byte 0"},
        {"$", "request.body is the only variable of routes and is expected at byte 1"},
        {"$default", "request.body is the only variable"},
        {"$request.header.x", "request.body is the only variable"},
        {"$context.routeKey", "request.body is the only variable"},
        {"$request.bodyx", "request.body is the only variable"},
        {"a/$request.querystring.a", "expected at byte 3"},
        {"${request.body.a", "} is expected at byte 16"},
        {"${request.body.a b}", "} is expected at byte 16"},
        {"$request.body.", "a member's name is expected at byte 14"},
        {"$request.body..a", "a member's name is expected at byte 14"},
        {"$request.body[", "an index, a quoted name or * is expected at byte 14"},
        {"$request.body[-1]", "an index, a quoted name or * is expected"},
        {"$request.body[0:2]", "] is expected at byte 15"},
        {"$request.body[1234567890]", "an index, a quoted name or * is expected"},
        {"$request.body['a]", "a closing quote is missing"},
        {"$request.body['a'", "] is expected"},
        {"$request.body[?(@.a)]", "an index, a quoted name or * is expected"},
        {"$request.body.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a", "the path is too long"},
        {"$request.body/$request.body/$request.body/$request.body/$request.body/$request.body/"
         "$request.body/$request.body/$request.body",
         "too many variables"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route_expression *expression = NULL;
        struct error err = {.text = ""};

        if (route_compile(cases[i].text, &expression, &err) != INVALID)
            fail_msg("taken: %s", cases[i].text);
        if (!strstr(err.text, cases[i].what))
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_null(expression);
    }
    route_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_member_selects_its_text),
        cmocka_unit_test(test_a_missing_member_selects_the_default),
        cmocka_unit_test(test_a_message_that_is_not_json_selects_the_default),
        cmocka_unit_test(test_a_scalar_message_selects_the_default),
        cmocka_unit_test(test_reserved_keys_cannot_be_named_by_a_client),
        cmocka_unit_test(test_variables_and_literals_are_concatenated),
        cmocka_unit_test(test_an_array_is_a_list_as_java_prints_it),
        cmocka_unit_test(test_an_escaped_dollar_is_a_literal),
        cmocka_unit_test(test_scalars_are_their_json_text),
        cmocka_unit_test(test_an_object_is_its_compact_json),
        cmocka_unit_test(test_the_last_of_duplicate_members_decides),
        cmocka_unit_test(test_case_matters),
        cmocka_unit_test(test_paths_go_into_objects_and_arrays),
        cmocka_unit_test(test_what_a_variable_gives_is_not_evaluated_again),
        cmocka_unit_test(test_a_key_longer_than_the_limit_selects_the_default),
        cmocka_unit_test(test_a_key_is_added_behind_what_is_there),
        cmocka_unit_test(test_broken_json_far_behind_the_member_still_counts),
        cmocka_unit_test(test_what_is_no_expression_is_refused_with_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

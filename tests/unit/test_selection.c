/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_selection.c - selection expressions of integrations.
 */
#include "selection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <string.h>
#include <strings.h>

static const char *get_header(const void *ctx, const char *name)
{
    assert_string_equal(ctx, "ctx");
    return strcasecmp(name, "x-kind") == 0 ? "special" : NULL;
}

static const struct selection_answer answer = {404, get_header, "ctx"};

static void assert_key(const char *text, const char *body, const struct selection_answer *from,
                       const char *expected)
{
    struct selection *selection = NULL;
    struct error err;
    struct buf key;

    if (selection_compile(text, &selection, &err))
        fail_msg("%s", err.text);
    buf_init(&key, 100);
    selection_eval(selection, body, body ? strlen(body) : 0, from, &key);
    if (strcmp(buf_str(&key), expected) != 0)
        fail_msg("%s is \"%s\" and not \"%s\"", text, buf_str(&key), expected);
    buf_done(&key);
    selection_free(selection);
}

static void test_a_static_text_is_its_own_value(void **state)
{
    (void)state;
    assert_key("200", NULL, NULL, "200");
    assert_key("default", "not JSON", NULL, "default");
    assert_key("\\$default", "{}", NULL, "$default");
}

static void test_variables_of_the_message(void **state)
{
    (void)state;
    assert_key("${request.body.x}", "{\"x\":\"create\"}", NULL, "create");
    assert_key("$request.body.x", "{\"x\":7}", NULL, "7");
    assert_key("${request.body.a}/${request.body.b[0]}", "{\"a\":true,\"b\":[\"q\"]}", NULL,
               "true/q");
    assert_key("$request.body.x", "{\"x\":[\"a\",\"b\"]}", NULL, "[a, b]");
    assert_key("$request.body.x", "{\"x\":\"$default\"}", NULL, "$default");
}

static void test_what_has_no_value_is_empty(void **state)
{
    (void)state;
    assert_key("${request.body.x}", "{\"y\":1}", NULL, "");
    assert_key("${request.body.x}", "no JSON", NULL, "");
    assert_key("${request.body.x}", NULL, NULL, "");
    assert_key("a${request.body.x}b", "{}", NULL, "ab");
    assert_key("${integration.response.statuscode}", NULL, NULL, "");
    assert_key("${integration.response.header.X-Other}", NULL, &answer, "");
    assert_key("${integration.response.header.X-Kind}", NULL, NULL, "");
}

static void test_variables_of_the_answer(void **state)
{
    (void)state;
    assert_key("${integration.response.statuscode}", NULL, &answer, "404");
    assert_key("$integration.response.statuscode", NULL, &answer, "404");
    assert_key("$integration.response.body.errorMessage", "{\"errorMessage\":1}", &answer, "");
    assert_key("${integration.response.header.X-KIND}", NULL, &answer, "special");
    assert_key("${integration.response.multivalueheader.x-kind}", NULL, &answer, "special");
    assert_key("${request.body.x}-${integration.response.statuscode}", "{\"x\":1}", &answer,
               "1-404");
}

static void test_what_is_no_expression_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *what;
    } cases[] = {
        {"", "selection expression \"\": it is empty at byte 0"},
        {"$default", "integration.response.header is expected at byte 1"},
        {"${context.routeKey}", "is expected at byte 2"},
        {"${request.body.x", "} is expected at byte 16"},
        {"$request.body[", "an index, a quoted name or * is expected at byte 14"},
        {"$integration.response.statuscodes", "is expected at byte 1"},
        {"$integration.response.header", "a header's name is expected at byte 28"},
        {"$integration.response.header.", "a header's name is expected at byte 29"},
        {"$integration.response.headers.x", "is expected at byte 1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct selection *selection = NULL;
        struct error err = {.text = ""};

        if (selection_compile(cases[i].text, &selection, &err) != INVALID)
            fail_msg("taken: %s", cases[i].text);
        if (!strstr(err.text, cases[i].what))
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_null(selection);
    }
    selection_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_static_text_is_its_own_value),
        cmocka_unit_test(test_variables_of_the_message),
        cmocka_unit_test(test_what_has_no_value_is_empty),
        cmocka_unit_test(test_variables_of_the_answer),
        cmocka_unit_test(test_what_is_no_expression_is_refused_with_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

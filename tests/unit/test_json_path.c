/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_json_path.c - paths into JSON.
 */
#include "json_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const char document[] =
    "{\"a\":{\"b c\":{\"d\":[10,{\"e\":\"deep \\\"q\\\"\"}]}},\"l\":[{\"n\":1},{\"n\":\"2\"},{}],"
    "\"t\":\"text\",\"x\":null,\"e\":[]}";

static struct json_path *compile(const char *text)
{
    size_t len = strlen(text);
    struct json_path *path = NULL;
    struct error err;

    if (json_path_compile(text, &len, &path, &err))
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(len, strlen(text));
    return path;
}

static struct json *parse(void)
{
    struct json *json = NULL;

    assert_int_equal(json_parse(document, strlen(document), &json, NULL), OK);
    return json;
}

/* text NULL: it finds nothing. */
static void assert_finds(const char *text, const char *as_text, const char *as_json)
{
    struct json_path *path = compile(text);
    struct json *root = parse();
    struct buf out;

    buf_init(&out, 1000);
    buf_adds(&out, "1 ");
    assert_int_equal(json_path_text(path, root, &out), as_text != NULL);
    if (strcmp(buf_str(&out) + 2, as_text ? as_text : "") != 0)
        fail_msg("%s is %s", text, buf_str(&out));
    buf_clear(&out);
    buf_adds(&out, "7");
    json_path_json(path, root, &out);
    if (strcmp(buf_str(&out) + 1, as_json) != 0)
        fail_msg("%s is %s", text, buf_str(&out));
    buf_done(&out);
    json_free(root);
    json_path_free(path);
}

static void test_what_paths_find(void **state)
{
    (void)state;
    assert_finds(".t", "text", "\"text\"");
    assert_finds("['t']", "text", "\"text\"");
    assert_finds(".a['b c'].d[0]", "10", "10");
    assert_finds(".a[\"b c\"].d[1].e", "deep \"q\"", "\"deep \\\"q\\\"\"");
    assert_finds(".a['b c'].d", "[10, {\"e\":\"deep \\\"q\\\"\"}]",
                 "[10,{\"e\":\"deep \\\"q\\\"\"}]");
    assert_finds(".l", "[{\"n\":1}, {\"n\":\"2\"}, {}]", "[{\"n\":1},{\"n\":\"2\"},{}]");
    assert_finds(".l[*].n", "[1, 2]", "[1,\"2\"]");
    assert_finds(".l[0].*", "[1]", "[1]");
    assert_finds(".x", "null", "null");
    assert_finds(".e", "[]", "[]");
}

static void test_what_paths_do_not_find(void **state)
{
    (void)state;
    assert_finds(".nothing", NULL, "\"\"");
    assert_finds(".t.deeper", NULL, "\"\"");
    assert_finds(".t[0]", NULL, "\"\"");
    assert_finds(".l[3]", NULL, "\"\"");
    assert_finds(".l[*].nothing", NULL, "\"\"");
    assert_finds(".e[*]", NULL, "\"\"");
    assert_finds(".t.*", NULL, "\"\"");
}

static void test_no_document_is_nothing(void **state)
{
    struct json_path *path = compile("");
    struct buf out;

    (void)state;
    buf_init(&out, 10);
    assert_false(json_path_text(path, NULL, &out));
    json_path_json(path, NULL, &out);
    assert_string_equal(buf_str(&out), "\"\"");
    assert_null(json_path_find(path, NULL));
    buf_done(&out);
    json_path_free(path);
}

static void test_a_single_path_gives_its_value(void **state)
{
    struct json *root = parse();
    struct json_path *single = compile(".a['b c'].d[0]");
    struct json_path *all = compile(".l[*]");
    struct json_path *empty = compile("");

    (void)state;
    assert_true(json_path_is_single(single));
    assert_false(json_path_is_single(all));
    assert_true(json_number(json_path_find(single, root)) == 10);
    assert_ptr_equal(json_path_find(empty, root), root);
    json_path_free(single);
    json_path_free(all);
    json_path_free(empty);
    json_free(root);
}

static void test_the_names_of_a_path_of_names(void **state)
{
    const char *names[JSON_PATH_STEPS];
    struct json_path *path = compile(".a['b c'].d");
    struct json_path *index = compile(".a[0]");
    struct json_path *empty = compile("");

    (void)state;
    assert_int_equal(json_path_names(path, names), 3);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b c");
    assert_string_equal(names[2], "d");
    assert_int_equal(json_path_names(index, names), 0);
    assert_int_equal(json_path_names(empty, names), 0);
    json_path_free(path);
    json_path_free(index);
    json_path_free(empty);
}

static void test_the_rest_is_the_callers(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {{"", 0},
                 {"x", 0},
                 {".a/b", 2},
                 {".a.b}", 4},
                 {"[0].a-b c", 7},
                 {"['x y']$", 7},
                 {".gr\xC3\xBC\xC3\x9F!", 7}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].text);
        char *exact = mem_strndup(cases[i].text, len);
        struct json_path *path = NULL;

        exact = mem_realloc(exact, len ? len : 1); /* no NUL: the sanitizer sees who reads on */
        assert_int_equal(json_path_compile(exact, &len, &path, NULL), OK);
        assert_int_equal(len, cases[i].len);
        json_path_free(path);
        free(exact);
    }
}

static void test_what_is_no_path_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *what;
        size_t at;
    } cases[] = {
        {".", "a member's name is expected", 1},
        {".a..b", "a member's name is expected", 3},
        {".a[", "an index, a quoted name or * is expected", 3},
        {"[-1]", "an index, a quoted name or * is expected", 1},
        {"[1234567890]", "an index, a quoted name or * is expected", 1},
        {"[0", "] is expected", 2},
        {"['a]", "a closing quote is missing", 1},
        {"['a'", "] is expected", 4},
        {".a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a", "the path is too long", 32},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].text);
        struct json_path *path = NULL;
        struct error err;

        assert_int_equal(json_path_compile(cases[i].text, &len, &path, &err), INVALID);
        assert_string_equal(err.text, cases[i].what);
        assert_int_equal(len, cases[i].at);
        assert_null(path);
    }
    json_path_free(NULL);
}

static void test_a_name_with_a_nul_is_refused(void **state)
{
    size_t len = 7;
    struct json_path *path = NULL;

    (void)state;
    assert_int_equal(json_path_compile("['a\0b']", &len, &path, NULL), INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_paths_find),
        cmocka_unit_test(test_what_paths_do_not_find),
        cmocka_unit_test(test_no_document_is_nothing),
        cmocka_unit_test(test_a_single_path_gives_its_value),
        cmocka_unit_test(test_the_names_of_a_path_of_names),
        cmocka_unit_test(test_the_rest_is_the_callers),
        cmocka_unit_test(test_what_is_no_path_is_refused_with_its_place),
        cmocka_unit_test(test_a_name_with_a_nul_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

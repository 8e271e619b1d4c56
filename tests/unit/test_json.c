/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_json.c - the writer, the strict reader, the lookup without a tree.
 */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json *parse(const char *text)
{
    struct json *json = NULL;
    struct error err;

    if (json_parse(text, strlen(text), &json, &err))
        fail_msg("%s: %s", text, err.text);
    return json;
}

static void assert_written(struct buf *out, const char *expected)
{
    assert_string_equal(buf_str(out), expected);
    buf_done(out);
}

/* ---- writer ---- */

static void test_commas_stand_between_values_and_nowhere_else(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_open(&out, NULL, '{');
    json_str(&out, "s", "text");
    json_int(&out, "i", -7);
    json_bool(&out, "t", true);
    json_bool(&out, "f", false);
    json_null(&out, "n");
    json_str(&out, "z", NULL);
    json_open(&out, "a", '[');
    json_int(&out, NULL, 1);
    json_str(&out, NULL, "2");
    json_open(&out, NULL, '[');
    json_close(&out, ']');
    json_open(&out, NULL, '{');
    json_close(&out, '}');
    json_close(&out, ']');
    json_raw(&out, "r", "{\"x\":1} \n", 9);
    json_str(&out, "e", "");
    json_close(&out, '}');
    assert_written(&out, "{\"s\":\"text\",\"i\":-7,\"t\":true,\"f\":false,\"n\":null,\"z\":null,"
                         "\"a\":[1,\"2\",[],{}],\"r\":{\"x\":1},\"e\":\"\"}");
}

static void test_texts_that_look_like_json_do_not_confuse_the_commas(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_open(&out, NULL, '[');
    json_str(&out, NULL, "[");
    json_str(&out, NULL, "{,:");
    json_str(&out, NULL, "\\\"");
    json_str(&out, NULL, "x");
    json_close(&out, ']');
    assert_written(&out, "[\"[\",\"{,:\",\"\\\\\\\"\",\"x\"]");
}

static void test_control_characters_and_quotes_are_escaped(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_strn(&out, NULL, "\"\\/\b\f\n\r\t\x01\x1f\0\x7f", 12);
    assert_written(&out, "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000\x7f\"");
}

static void test_what_is_not_utf8_becomes_a_replacement_character(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_str(&out, NULL, "\xC3\xA9\xFF\xE2\x82\xAC\xE2\x82\xF0\x9F\x98\x80\xED\xA0\x80");
    assert_written(&out, "\"\xC3\xA9\xEF\xBF\xBD\xE2\x82\xAC\xEF\xBF\xBD\xEF\xBF\xBD"
                         "\xF0\x9F\x98\x80\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void test_integers_are_written_in_full(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_open(&out, NULL, '[');
    json_int(&out, NULL, INT64_MAX);
    json_int(&out, NULL, INT64_MIN);
    json_close(&out, ']');
    assert_written(&out, "[9223372036854775807,-9223372036854775808]");
}

static void test_a_full_buffer_shows_at_the_end(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 12);
    json_open(&out, NULL, '{');
    json_str(&out, "key", "a long value");
    json_close(&out, '}');
    assert_true(buf_full(&out));
    buf_done(&out);
}

static void test_text_in_front_that_ends_in_a_new_line_gets_no_comma(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 100);
    json_open(&out, NULL, '{');
    json_close(&out, '}');
    buf_addc(&out, '\n');
    json_open(&out, NULL, '{');
    json_close(&out, '}');
    assert_written(&out, "{}\n{}");
}

/* ---- reader ---- */

static void test_every_kind_of_value_is_read(void **state)
{
    struct json *json =
        parse(" { \"n\" : null , \"t\":true,\"f\":false,\"i\":-12,\"d\":1.5e2,"
              "\"s\":\"a\\u00e9\\ud83d\\ude00\\n\",\"a\":[1,[2],{}],\"o\":{\"\":0}} ");
    const struct json *array = json_get(json, "a");

    (void)state;
    assert_int_equal(json_type(json), JSON_OBJECT);
    assert_int_equal(json_len(json), 8);
    assert_int_equal(json_type(json_get(json, "n")), JSON_NULL);
    assert_int_equal(json_type(json_get(json, "t")), JSON_BOOL);
    assert_true(json_is_true(json_get(json, "t")));
    assert_false(json_is_true(json_get(json, "f")));
    assert_false(json_is_true(json_get(json, "i")));
    assert_true(json_number(json_get(json, "i")) == -12);
    assert_true(json_number(json_get(json, "d")) == 150);
    assert_string_equal(json_text(json_get(json, "s")), "a\xC3\xA9\xF0\x9F\x98\x80\n");
    assert_null(json_text(json_get(json, "i")));
    assert_int_equal(json_type(array), JSON_ARRAY);
    assert_int_equal(json_len(array), 3);
    assert_true(json_number(json_at(array, 0)) == 1);
    assert_int_equal(json_type(json_at(array, 2)), JSON_OBJECT);
    assert_null(json_at(array, 3));
    assert_null(json_at(json, 0));
    assert_null(json_get(array, "a"));
    assert_null(json_get(json, "N"));
    assert_non_null(json_get(json_get(json, "o"), ""));
    json_free(json);
    json_free(NULL);
}

static void test_children_are_walked_in_order(void **state)
{
    struct json *json = parse("{\"a\":1,\"b\":2,\"a\":3}");
    const struct json *it = json_first(json);

    (void)state;
    assert_string_equal(json_key(it), "a");
    it = json_next(it);
    assert_string_equal(json_key(it), "b");
    it = json_next(it);
    assert_string_equal(json_key(it), "a");
    assert_null(json_next(it));
    json_free(json);
}

static void test_the_last_of_duplicate_members_wins(void **state)
{
    struct json *json = parse("{\"a\":1,\"b\":2,\"a\":3}");

    (void)state;
    assert_true(json_number(json_get(json, "a")) == 3);
    json_free(json);
}

static void test_the_text_need_not_end_in_nul_and_bytes_behind_it_are_not_read(void **state)
{
    static const char text[] = "{\"a\":12}";

    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        char *exact = malloc(len ? len : 1); /* the sanitizer sees a byte too far */
        struct json *json = NULL;

        assert_non_null(exact);
        memcpy(exact, text, len);
        assert_int_equal(json_parse(exact, len, &json, NULL), INVALID);
        assert_null(json);
        free(exact);
    }
}

static void test_what_is_not_json_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        "plain text",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "{1:2}",
        "nul",
        "nulll",
        "True",
        "tru",
        "NaN",
        "Infinity",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1.e1",
        "0x10",
        "1 2",
        "{} {}",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\t\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\u0000\"",
        "\xEF\xBB\xBF{}",
        "\"\xFF\"",
        "\"\xED\xA0\x80\"",
        "\xC2\xA0{}",
        "\f{}",
        "[1]//x",
        "[\"a\",\"b\"",
        "[[[[",
        "{\"a\":{\"b\":{",
        "\"abcdefgh\x01\"",
        "\"\\",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json *json = NULL;
        struct error err = {.text = ""};

        if (json_parse(cases[i], strlen(cases[i]), &json, &err) != INVALID)
            fail_msg("taken: %s", cases[i]);
        assert_non_null(strstr(err.text, "not JSON"));
        assert_null(json);
    }
}

static void test_an_embedded_nul_is_not_json(void **state)
{
    struct json *json = NULL;

    (void)state;
    assert_int_equal(json_parse("{}\0", 3, &json, NULL), INVALID);
    assert_int_equal(json_parse("\"a\0b\"", 5, &json, NULL), INVALID);
    assert_int_equal(json_parse("\"a\\\0b\"", 6, &json, NULL), INVALID);
}

static void test_the_error_says_at_which_byte(void **state)
{
    struct json *json = NULL;
    struct error err;

    (void)state;
    assert_int_equal(json_parse("{\"a\":x}", 7, &json, &err), INVALID);
    assert_string_equal(err.text, "not JSON at byte 5 of 7");
    assert_int_equal(json_parse("{} x", 4, &json, &err), INVALID);
    assert_string_equal(err.text, "not JSON at byte 3 of 4");
}

static void parse_nested(size_t depth, enum status expected)
{
    char *text = malloc(2 * depth);
    struct json *json = NULL;

    assert_non_null(text);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    assert_int_equal(json_parse(text, 2 * depth, &json, NULL), expected);
    json_free(json);
    free(text);
}

static void test_nesting_has_a_limit(void **state)
{
    (void)state;
    parse_nested(1, OK);
    parse_nested(500, OK);
    parse_nested(501, INVALID);
    parse_nested(100000, INVALID);
}

static void test_a_number_has_at_most_63_characters(void **state)
{
    char text[70];
    struct json *json = NULL;

    (void)state;
    memset(text, '1', sizeof(text));
    assert_int_equal(json_parse(text, 63, &json, NULL), OK);
    json_free(json);
    assert_int_equal(json_parse(text, 64, &json, NULL), INVALID);
}

static void test_members_are_required_or_optional_and_have_a_type(void **state)
{
    struct json *json =
        parse("{\"s\":\"x\",\"i\":9007199254740992,\"d\":1.5,\"n\":null,\"big\":1e300}");
    const char *text = "unset";
    int64_t n = -1;
    struct error err;

    (void)state;
    assert_int_equal(json_get_str(json, "s", &text, &err), OK);
    assert_string_equal(text, "x");
    assert_int_equal(json_get_int(json, "i", &n, &err), OK);
    assert_int_equal(n, 9007199254740992);
    text = "unset";
    n = -1;
    assert_int_equal(json_opt_str(json, "none", &text, &err), OK);
    assert_int_equal(json_opt_str(json, "n", &text, &err), OK);
    assert_int_equal(json_opt_int(json, "none", &n, &err), OK);
    assert_int_equal(json_opt_int(json, "n", &n, &err), OK);
    assert_int_equal(json_get_str(json, "none", &text, &err), INVALID);
    assert_string_equal(err.text, "\"none\" is missing");
    assert_int_equal(json_get_int(json, "n", &n, &err), INVALID);
    assert_string_equal(err.text, "\"n\" is missing");
    assert_int_equal(json_get_str(json, "i", &text, &err), INVALID);
    assert_string_equal(err.text, "\"i\" must be a string");
    assert_int_equal(json_opt_int(json, "s", &n, &err), INVALID);
    assert_string_equal(err.text, "\"s\" must be an integer");
    assert_int_equal(json_opt_int(json, "d", &n, &err), INVALID);
    assert_int_equal(json_opt_int(json, "big", &n, &err), INVALID);
    assert_string_equal(text, "unset");
    assert_int_equal(n, -1);
    json_free(json);
}

static void test_a_tree_is_written_back_as_compact_json(void **state)
{
    static const char text[] =
        " { \"a\" : [ 1 , -2 , \"x\\n\" , true , false , null , { } , [ ] ] , "
        "\"b\" : { \"c\" : \"\\u20ac\" } , \"b\" : 0 } ";
    struct json *json = parse(text);
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_open(&out, NULL, '[');
    json_write(&out, NULL, json);
    json_write(&out, NULL, json_get(json, "a"));
    json_close(&out, ']');
    assert_written(&out, "[{\"a\":[1,-2,\"x\\n\",true,false,null,{},[]],"
                         "\"b\":{\"c\":\"\xE2\x82\xAC\"},\"b\":0},"
                         "[1,-2,\"x\\n\",true,false,null,{},[]]]");
    json_free(json);
}

static void test_numbers_are_written_as_short_as_they_read_back(void **state)
{
    static const struct {
        const char *read;
        const char *written;
    } cases[] = {
        {"1.0", "1"},
        {"-0.5", "-0.5"},
        {"1e2", "100"},
        {"0.1", "0.1"},
        {"1e999", "1e999"},
        {"-1e999", "-1e999"},
        {"1e15", "1e+15"},
        {"999999999999999", "999999999999999"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"5e-324", "4.94065645841247e-324"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json *json = parse(cases[i].read);
        struct buf out;

        buf_init(&out, 100);
        json_write(&out, NULL, json);
        assert_written(&out, cases[i].written);
        json_free(json);
    }
}

/* ---- lookup ---- */

static void test_a_member_is_found_without_a_tree(void **state)
{
    static const struct {
        const char *text;
        enum json_lookup result;
        const char *value;
    } cases[] = {
        {"{\"a\":{\"b\":\"x\"}}", JSON_LOOKUP_PLAIN, "x"},
        {" { \"a\" : { \"b\" : \"x\" } } ", JSON_LOOKUP_PLAIN, "x"},
        {"{\"a\":{\"b\":\"\"}}", JSON_LOOKUP_PLAIN, ""},
        {"{\"a\":{\"b\":7}}", JSON_LOOKUP_PLAIN, "7"},
        {"{\"a\":{\"b\":0}}", JSON_LOOKUP_PLAIN, "0"},
        {"{\"a\":{\"b\":true}}", JSON_LOOKUP_PLAIN, "true"},
        {"{\"a\":{\"b\":false}}", JSON_LOOKUP_PLAIN, "false"},
        {"{\"a\":{\"b\":null}}", JSON_LOOKUP_PLAIN, "null"},
        {"{\"a\":{\"b\":1},\"a\":{\"b\":2}}", JSON_LOOKUP_PLAIN, "2"},
        {"{\"a\":{\"b\":1,\"b\":2}}", JSON_LOOKUP_PLAIN, "2"},
        {"{\"a\":{\"b\":1},\"a\":{}}", JSON_LOOKUP_MISSING, NULL},
        {"{\"a\":{\"b\":1},\"a\":1}", JSON_LOOKUP_MISSING, NULL},
        {"{\"a\":[{\"b\":1}]}", JSON_LOOKUP_MISSING, NULL},
        {"{\"b\":1}", JSON_LOOKUP_MISSING, NULL},
        {"{\"A\":{\"b\":1}}", JSON_LOOKUP_MISSING, NULL},
        {"{\"aa\":{\"b\":1},\"\":{\"b\":1}}", JSON_LOOKUP_MISSING, NULL},
        {"{}", JSON_LOOKUP_MISSING, NULL},
        {"{\"a\":{\"b\":\"x\\n\"}}", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":1.0}}", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":1e3}}", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":-1}}", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":1234567890123456}}", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":[]}}", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":{}}}", JSON_LOOKUP_TREE, NULL},
        {"{\"\\u0061\":{\"b\":1}}", JSON_LOOKUP_TREE, NULL},
        {"[]", JSON_LOOKUP_TREE, NULL},
        {"7", JSON_LOOKUP_TREE, NULL},
        {"", JSON_LOOKUP_TREE, NULL},
        {"{\"a\":{\"b\":\"x\"}", JSON_LOOKUP_INVALID, NULL},
        {"{\"a\":{\"b\":\"x\"}}}", JSON_LOOKUP_INVALID, NULL},
        {"{\"a\":{\"b\":\"x\",}}", JSON_LOOKUP_INVALID, NULL},
        {"{\"a\":{\"b\":\"x\"},\"c\":[01]}", JSON_LOOKUP_INVALID, NULL},
        {"{\"a\":{\"b\":\"x\xFF\"}}", JSON_LOOKUP_INVALID, NULL},
        {"{\"a\":}", JSON_LOOKUP_INVALID, NULL},
        {"{\"a\"", JSON_LOOKUP_INVALID, NULL},
        {"{", JSON_LOOKUP_INVALID, NULL},
    };
    static const char *const path[] = {"a", "b"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *value = NULL;
        size_t len = 0;
        enum json_lookup result =
            json_lookup(cases[i].text, strlen(cases[i].text), path, 2, &value, &len);

        if (result != cases[i].result)
            fail_msg("%s: %d", cases[i].text, (int)result);
        if (cases[i].value) {
            assert_int_equal(len, strlen(cases[i].value));
            assert_memory_equal(value, cases[i].value, len);
        } else {
            assert_null(value);
        }
    }
}

static void test_a_path_too_long_or_empty_is_for_the_tree(void **state)
{
    const char *path[JSON_LOOKUP_DEPTH + 1];
    const char *value;
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(path); i++)
        path[i] = "a";
    assert_int_equal(json_lookup("{}", 2, path, 0, &value, &len), JSON_LOOKUP_TREE);
    assert_int_equal(json_lookup("{}", 2, path, JSON_LOOKUP_DEPTH, &value, &len),
                     JSON_LOOKUP_MISSING);
    assert_int_equal(json_lookup("{}", 2, path, JSON_LOOKUP_DEPTH + 1, &value, &len),
                     JSON_LOOKUP_TREE);
}

static void test_utf8_is_checked_over_the_whole_length(void **state)
{
    char text[64];

    (void)state;
    assert_true(utf8_is_valid("", 0));
    assert_true(utf8_is_valid("gr\xC3\xBC\xC3\x9F, \xF0\x9F\x98\x80 and more than eight", 33));
    for (size_t i = 0; i < sizeof(text); i++) {
        memset(text, 'a', sizeof(text));
        text[i] = (char)0xC3;
        assert_false(utf8_is_valid(text, sizeof(text)));
        if (i + 1 < sizeof(text)) {
            text[i + 1] = (char)0xA9;
            assert_true(utf8_is_valid(text, sizeof(text)));
            assert_false(utf8_is_valid(text, i + 1));
        }
    }
}

static void test_a_value_inside_other_text_gets_no_comma(void **state)
{
    static const char text[] = "{\"a\":[1,\"x \\\"y\\\"\",null,true,1.5],\"b\":{}}";
    struct json *json = NULL;
    struct buf out;

    (void)state;
    assert_int_equal(json_parse(text, strlen(text), &json, NULL), OK);
    buf_init(&out, 1000);
    buf_adds(&out, "7");
    json_add(&out, json);
    json_add(&out, json_at(json_get(json, "a"), 0));
    json_add_string(&out, "q\"", 2);
    buf_adds(&out, " ");
    json_add_number(&out, 0.1);
    assert_string_equal(buf_str(&out),
                        "7{\"a\":[1,\"x \\\"y\\\"\",null,true,1.5],\"b\":{}}1\"q\\\"\" 0.1");
    buf_clear(&out);
    buf_adds(&out, "7");
    json_add_java(&out, json);
    json_add_java(&out, json_at(json_get(json, "a"), 1));
    assert_string_equal(buf_str(&out), "7{a=[1, x \"y\", null, true, 1.5], b={}}x \"y\"");
    buf_done(&out);
    json_free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commas_stand_between_values_and_nowhere_else),
        cmocka_unit_test(test_texts_that_look_like_json_do_not_confuse_the_commas),
        cmocka_unit_test(test_control_characters_and_quotes_are_escaped),
        cmocka_unit_test(test_what_is_not_utf8_becomes_a_replacement_character),
        cmocka_unit_test(test_integers_are_written_in_full),
        cmocka_unit_test(test_a_full_buffer_shows_at_the_end),
        cmocka_unit_test(test_text_in_front_that_ends_in_a_new_line_gets_no_comma),
        cmocka_unit_test(test_every_kind_of_value_is_read),
        cmocka_unit_test(test_children_are_walked_in_order),
        cmocka_unit_test(test_the_last_of_duplicate_members_wins),
        cmocka_unit_test(test_the_text_need_not_end_in_nul_and_bytes_behind_it_are_not_read),
        cmocka_unit_test(test_what_is_not_json_is_refused),
        cmocka_unit_test(test_an_embedded_nul_is_not_json),
        cmocka_unit_test(test_the_error_says_at_which_byte),
        cmocka_unit_test(test_nesting_has_a_limit),
        cmocka_unit_test(test_a_number_has_at_most_63_characters),
        cmocka_unit_test(test_members_are_required_or_optional_and_have_a_type),
        cmocka_unit_test(test_a_tree_is_written_back_as_compact_json),
        cmocka_unit_test(test_numbers_are_written_as_short_as_they_read_back),
        cmocka_unit_test(test_a_member_is_found_without_a_tree),
        cmocka_unit_test(test_a_path_too_long_or_empty_is_for_the_tree),
        cmocka_unit_test(test_utf8_is_checked_over_the_whole_length),
        cmocka_unit_test(test_a_value_inside_other_text_gets_no_comma),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

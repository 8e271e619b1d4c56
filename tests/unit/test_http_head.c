/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_http_head.c - request heads, header lookups, URLs.
 */
#include "http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GET "GET / HTTP/1.1\r\n"

static const char upgrade[] = "GET /dev/x%20y?email=a%40b&type=&flag HTTP/1.1\r\n"
                              "Host: example.test:8080\r\n"
                              "X-Mixed-CASE:\t v a l \t\r\n"
                              "connection: keep-alive, Upgrade\r\n"
                              "Empty:\r\n"
                              "x-mixed-case: second\r\n"
                              "\r\n";

static void parse(const char *text, struct http_head *head)
{
    struct error err;

    if (http_head_parse(text, strlen(text), head, &err))
        fail_msg("%s: %s", text, err.text);
}

static void assert_slice(struct slice s, const char *expected)
{
    assert_non_null(s.data);
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.data, expected, s.len);
}

static void test_a_head_is_taken_apart(void **state)
{
    struct http_head head;

    (void)state;
    parse(upgrade, &head);
    assert_slice(head.method, "GET");
    assert_slice(head.target, "/dev/x%20y?email=a%40b&type=&flag");
    assert_slice(head.path, "/dev/x%20y");
    assert_slice(head.query, "email=a%40b&type=&flag");
    assert_int_equal(head.minor_version, 1);
    assert_int_equal(head.size, strlen(upgrade));
    assert_int_equal(head.header_count, 5);
    assert_slice(head.headers[0].name, "Host");
    assert_slice(head.headers[0].value, "example.test:8080");
    assert_slice(head.headers[1].name, "X-Mixed-CASE");
    assert_slice(head.headers[1].value, "v a l");
    assert_slice(head.headers[3].value, "");
}

static void test_bytes_behind_the_head_are_not_part_of_it(void **state)
{
    struct http_head head;

    (void)state;
    parse(GET "\r\n\x81\x85mask", &head);
    assert_int_equal(head.size, strlen(GET) + 2);
    assert_int_equal(head.header_count, 0);
    assert_null(head.query.data);
}

static void test_every_shorter_head_is_incomplete_and_never_read_past_its_end(void **state)
{
    size_t len = strlen(upgrade);
    struct http_head head;
    struct error err;

    (void)state;
    for (size_t n = 0; n < len; n++) {
        char *exact = malloc(n ? n : 1); /* the sanitizer sees a byte too far */

        assert_non_null(exact);
        memcpy(exact, upgrade, n);
        assert_int_equal(http_head_parse(exact, n, &head, &err), UNAVAILABLE);
        free(exact);
    }
}

static void test_a_query_is_absent_or_empty_or_there(void **state)
{
    struct http_head head;

    (void)state;
    parse("GET /a HTTP/1.1\r\n\r\n", &head);
    assert_null(head.query.data);
    parse("GET /a? HTTP/1.1\r\n\r\n", &head);
    assert_slice(head.query, "");
    parse("GET /?a?b HTTP/1.1\r\n\r\n", &head);
    assert_slice(head.path, "/");
    assert_slice(head.query, "a?b");
}

static void test_an_absolute_target_has_the_same_path(void **state)
{
    struct http_head head;

    (void)state;
    parse("GET http://h:80/dev?a=1 HTTP/1.0\r\n\r\n", &head);
    assert_slice(head.path, "/dev");
    assert_slice(head.query, "a=1");
    assert_int_equal(head.minor_version, 0);
    parse("GET WS://h HTTP/1.1\r\n\r\n", &head);
    assert_slice(head.path, "/");
    parse("GET https://h?x HTTP/1.1\r\n\r\n", &head);
    assert_slice(head.path, "/");
    assert_slice(head.query, "x");
    parse("OPTIONS * HTTP/1.1\r\n\r\n", &head);
    assert_slice(head.path, "*");
}

static void test_what_is_no_http_head_is_refused(void **state)
{
    static const char *const cases[] = {
        "\r\n",                           /* no request line */
        " GET / HTTP/1.1\r\n\r\n",        /* a blank in front */
        "GET  / HTTP/1.1\r\n\r\n",        /* two blanks */
        "GET /\r\n\r\n",                  /* HTTP/0.9 */
        "GET / HTTP/1.1 \r\n\r\n",        /* a blank behind */
        "GET / HTTP/2.0\r\n\r\n",         /* another version */
        "GET / HTTP/1.10\r\n\r\n",        /* no digit */
        "GET / HTTP/1.x\r\n\r\n",         /* no digit */
        "GET / http/1.1\r\n\r\n",         /* the name is case-sensitive */
        "G(T / HTTP/1.1\r\n\r\n",         /* no token */
        "GET\t/ HTTP/1.1\r\n\r\n",        /* a tab */
        "GET dev HTTP/1.1\r\n\r\n",       /* no path */
        "GET *x HTTP/1.1\r\n\r\n",        /* no path */
        "GET http:// HTTP/1.1\r\n\r\n",   /* no authority */
        "GET ftp://h/ HTTP/1.1\r\n\r\n",  /* another scheme */
        "CONNECT h:443 HTTP/1.1\r\n\r\n", /* a proxy's request */
        "GET /\xC3\xA9 HTTP/1.1\r\n\r\n", /* not percent-encoded */
        "GET / HTTP/1.1\n\r\n",           /* a bare LF */
        "GET / HTTP/1.1\r\r\n\r\n",       /* a bare CR */
        GET "A: 1\n\r\n",                 /* a bare LF */
        GET "A: 1\rB: 2\r\n\r\n",         /* a bare CR */
        GET "A : 1\r\n\r\n",              /* a blank before the colon */
        GET "A\r\n\r\n",                  /* no colon */
        GET ": 1\r\n\r\n",                /* no name */
        GET "A: 1\r\n folded\r\n\r\n",    /* obsolete line folding */
        GET "A: 1\r\n\tfolded\r\n\r\n",   /* obsolete line folding */
        GET "A: \x01\r\n\r\n",            /* a control character */
        GET "A: \x7f\r\n\r\n",            /* a control character */
        GET "A\xC3\xA9: 1\r\n\r\n",       /* a name is ASCII */
        "\x16\x03\x01\x02",               /* TLS; at once, without waiting for more */
        "G{",                             /* at once */
    };
    struct http_head head;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = {.text = ""};

        if (http_head_parse(cases[i], strlen(cases[i]), &head, &err) != INVALID)
            fail_msg("case %zu was taken: %s", i, cases[i]);
        assert_string_not_equal(err.text, "");
    }
}

static void test_a_nul_is_refused_wherever_it_stands(void **state)
{
    char text[sizeof(upgrade)];
    struct http_head head;

    (void)state;
    for (size_t i = 0; i < sizeof(upgrade) - 1; i++) {
        memcpy(text, upgrade, sizeof(upgrade));
        text[i] = '\0';
        assert_int_equal(http_head_parse(text, sizeof(text) - 1, &head, NULL), INVALID);
    }
}

static void test_bytes_above_ascii_are_fine_in_values(void **state)
{
    struct http_head head;

    (void)state;
    parse(GET "A: gr\xC3\xBC\xFF\r\n\r\n", &head);
    assert_slice(head.headers[0].value, "gr\xC3\xBC\xFF");
}

static void test_a_hundred_headers_are_the_limit(void **state)
{
    char text[4096] = GET;
    size_t len = strlen(GET);
    struct http_head head;

    (void)state;
    for (int i = 0; i < HTTP_MAX_HEADERS; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "h%d: %d\r\n", i, i);
    snprintf(text + len, sizeof(text) - len, "\r\n");
    parse(text, &head);
    assert_int_equal(head.header_count, 100);
    assert_slice(http_head_find(&head, "H99")->value, "99");
    snprintf(text + len, sizeof(text) - len, "one: more\r\n");
    assert_int_equal(http_head_parse(text, strlen(text), &head, NULL), LIMIT);
}

static void test_headers_are_found_in_any_case_and_the_last_one_counts(void **state)
{
    struct http_head head;

    (void)state;
    parse(upgrade, &head);
    assert_slice(http_head_find(&head, "x-mixed-Case")->value, "second");
    assert_slice(http_head_find(&head, "HOST")->value, "example.test:8080");
    assert_null(http_head_find(&head, "Hos"));
    assert_int_equal(http_head_count(&head, "x-mixed-case"), 2);
    assert_int_equal(http_head_count(&head, "missing"), 0);
}

static void test_a_token_is_found_in_a_list_over_several_lines(void **state)
{
    struct http_head head;

    (void)state;
    parse(GET "Connection: keep-alive ,\tUpgrade\r\nX: 1\r\nconnection:,,close\r\n\r\n", &head);
    assert_true(http_head_has_token(&head, "Connection", "upgrade"));
    assert_true(http_head_has_token(&head, "Connection", "Keep-Alive"));
    assert_true(http_head_has_token(&head, "Connection", "close"));
    assert_false(http_head_has_token(&head, "Connection", "keep"));
    assert_false(http_head_has_token(&head, "Connection", "keep-alive ,\tUpgrade"));
    assert_false(http_head_has_token(&head, "Upgrade", "websocket"));
}

static void test_slices_compare_and_are_copied(void **state)
{
    struct slice s = {"Upgrade!", 7};
    struct slice none = {NULL, 0};
    char *copy = slice_dup(s);
    char *empty = slice_dup(none);

    (void)state;
    assert_true(slice_is(s, "Upgrade"));
    assert_false(slice_is(s, "upgrade"));
    assert_false(slice_is(s, "Upgrade!"));
    assert_true(slice_is_nocase(s, "uPGRADE"));
    assert_false(slice_is_nocase(s, "Upgrad"));
    assert_true(slice_is(none, ""));
    assert_string_equal(copy, "Upgrade");
    assert_string_equal(empty, "");
    free(copy);
    free(empty);
}

static void test_percent_escapes_are_decoded_exactly_once(void **state)
{
    static const struct {
        const char *text;
        bool plus_is_space;
        const char *decoded; /* NULL: refused */
    } cases[] = {
        {"", false, ""},
        {"plain", false, "plain"},
        {"a%2Bb+space", true, "a+b space"},
        {"a%2Bb+space", false, "a+b+space"},
        {"%40connections", false, "@connections"},
        {"gbgEXa8pzQAYKEi_gA%3D%3d", false, "gbgEXa8pzQAYKEi_gA=="},
        {"%252B", true, "%2B"},
        {"%E2%82%AC", true, "\xE2\x82\xAC"},
        {"%ff", true, "\xff"},
        {"%", false, NULL},
        {"%4", false, NULL},
        {"a%", false, NULL},
        {"%4g", false, NULL},
        {"%g4", false, NULL},
        {"%%41", false, NULL},
        {"%00", false, NULL},
        {"a%00b", true, NULL},
        {"%-1", true, NULL},
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice s = {cases[i].text, strlen(cases[i].text)};
        long len = url_decode(s, cases[i].plus_is_space, out);

        if (cases[i].decoded) {
            assert_string_equal(out, cases[i].decoded);
            assert_int_equal(len, strlen(cases[i].decoded));
        } else if (len != -1) {
            fail_msg("decoded: %s", cases[i].text);
        }
    }
}

static void test_an_escape_that_the_slice_cuts_is_broken(void **state)
{
    char out[8];

    (void)state;
    assert_int_equal(url_decode((struct slice){"ab%41", 4}, false, out), -1);
    assert_int_equal(url_decode((struct slice){"ab%41", 5}, false, out), 3);
    assert_string_equal(out, "abA");
    assert_int_equal(url_decode((struct slice){"a\0b", 3}, false, out), -1);
}

static void test_a_query_is_walked_pair_by_pair(void **state)
{
    static const char *const expected[][2] = {{"email", "a%40b"}, {"type", ""}, {"flag", ""},
                                              {"a", "=b"},        {"", "x"},    {"a", "2"}};
    struct slice rest = {"&email=a%40b&&type=&flag&a==b&=x&a=2&", 36};
    struct slice name;
    struct slice value;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(query_next(&rest, &name, &value));
        assert_slice(name, expected[i][0]);
        assert_slice(value, expected[i][1]);
    }
    assert_false(query_next(&rest, &name, &value));
    assert_false(query_next(&rest, &name, &value));
    rest = (struct slice){NULL, 0};
    assert_false(query_next(&rest, &name, &value));
}

static void test_what_cannot_be_decoded_stays_as_it_was_sent(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 12);
    query_decode((struct slice){"a%2Bb+c", 7}, &out);
    query_decode((struct slice){"%zz+", 4}, &out);
    query_decode((struct slice){"", 0}, &out);
    assert_string_equal(buf_str(&out), "a+b c%zz+");
    query_decode((struct slice){"long", 4}, &out);
    assert_true(buf_full(&out));
    assert_string_equal(buf_str(&out), "a+b c%zz+");
    buf_done(&out);
}

static void test_names_of_headers_are_tokens(void **state)
{
    (void)state;
    assert_true(http_is_token((struct slice){"X-Amzn_1.~", 10}));
    assert_false(http_is_token((struct slice){"", 0}));
    assert_false(http_is_token((struct slice){"a b", 3}));
    assert_false(http_is_token((struct slice){"a:", 2}));
    assert_false(http_is_token((struct slice){"a\r\n", 3}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_is_taken_apart),
        cmocka_unit_test(test_bytes_behind_the_head_are_not_part_of_it),
        cmocka_unit_test(test_every_shorter_head_is_incomplete_and_never_read_past_its_end),
        cmocka_unit_test(test_a_query_is_absent_or_empty_or_there),
        cmocka_unit_test(test_an_absolute_target_has_the_same_path),
        cmocka_unit_test(test_what_is_no_http_head_is_refused),
        cmocka_unit_test(test_a_nul_is_refused_wherever_it_stands),
        cmocka_unit_test(test_bytes_above_ascii_are_fine_in_values),
        cmocka_unit_test(test_a_hundred_headers_are_the_limit),
        cmocka_unit_test(test_headers_are_found_in_any_case_and_the_last_one_counts),
        cmocka_unit_test(test_a_token_is_found_in_a_list_over_several_lines),
        cmocka_unit_test(test_slices_compare_and_are_copied),
        cmocka_unit_test(test_percent_escapes_are_decoded_exactly_once),
        cmocka_unit_test(test_an_escape_that_the_slice_cuts_is_broken),
        cmocka_unit_test(test_a_query_is_walked_pair_by_pair),
        cmocka_unit_test(test_what_cannot_be_decoded_stays_as_it_was_sent),
        cmocka_unit_test(test_names_of_headers_are_tokens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the WebSocket port takes for a management request.
 */
#include "request_line.h"

#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

static enum request_line look(const char *text)
{
    return request_line_look(text, strlen(text));
}

static void test_the_management_api_is_recognized_in_every_spelling(void **state)
{
    static const char *const lines[] = {
        "POST /dev/@connections/abc== HTTP/1.1\r\n",
        "POST /dev/%40connections/abc%3D%3D HTTP/1.1\r\n",
        "GET /dev/@connections/",
        "DELETE /dev/%40%63%6f%6e%6E%65%63%74%69%6f%6e%73/",
        "GET /@connections/abc HTTP/1.1\r\n",
        "GET /dev/@connections?x",
        "GET /dev/@connections HTTP/1.1",
        "POST /dev/@send HTTP/1.1\r\n",
        "POST /%40send HTTP/1.1\r\n",
        "POST http://example.com/dev/@connections/abc HTTP/1.1\r\n",
        "POST https://[::1]:80/dev/%40send ",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (look(lines[i]) != REQUEST_LINE_MANAGEMENT)
            fail_msg("%s", lines[i]);
}

static void test_everything_else_is_the_listeners(void **state)
{
    static const char *const lines[] = {
        "GET /dev HTTP/1.1\r\n",
        "GET /dev?a=/@connections/ HTTP/1.1\r\n",
        "GET /a/b/@connections/c HTTP/1.1\r\n",
        "GET /dev/connections/x HTTP/1.1\r\n",
        "GET /dev/@connectionss/x HTTP/1.1\r\n",
        "GET /dev/%4connections/x HTTP/1.1\r\n",
        "GET /dev/%2540connections/x HTTP/1.1\r\n",
        "GET * HTTP/1.1\r\n",
        "GET  /dev/@connections/",
        "get /dev/@connections/",
        " ",
        "\r\n",
        "G3T",
        "VERYLONGMETHODNAME",
        "CONNECT example.com:443 HTTP/1.1\r\n",
        "GET http://example.com HTTP/1.1\r\n",
        "GET http:/dev/@connections/x HTTP/1.1\r\n",
        "GET //dev/@connections/x HTTP/1.1\r\n",
        "\x16\x03\x01\x02",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (look(lines[i]) != REQUEST_LINE_HANDSHAKE)
            fail_msg("%s", lines[i]);
}

/* Byte by byte it never changes its mind, and has decided at the end. */
static void test_it_waits_until_it_is_sure(void **state)
{
    static const char *const lines[] = {
        "POST /dev/%40connections/abc HTTP/1.1\r\n",
        "GET /dev HTTP/1.1\r\n",
        "GET /dev/foo HTTP/1.1\r\n",
        "GET http://example.com/dev/@send HTTP/1.1\r\n",
        "BREW * HTTP/1.1\r\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        enum request_line end = look(lines[i]);

        assert_int_not_equal(end, REQUEST_LINE_UNDECIDED);
        for (size_t len = 0; len < strlen(lines[i]); len++) {
            enum request_line now = request_line_look(lines[i], len);

            assert_true(now == REQUEST_LINE_UNDECIDED || now == end);
        }
    }
    assert_int_equal(look(""), REQUEST_LINE_UNDECIDED);
    assert_int_equal(look("GET"), REQUEST_LINE_UNDECIDED);
    assert_int_equal(look("GET /dev/@connections"), REQUEST_LINE_UNDECIDED);
}

static void test_a_path_alone_is_judged_the_same(void **state)
{
    static const char *const paths[] = {"/dev/@connections", "/dev/%40connections/a",
                                        "/dev/@connections/a/b", "/%40connections/"};
    static const char *const sends[] = {"/@send", "/dev/%40%73end", "/dev/@send/%zz"};
    static const char *const others[] = {"",          "/",       "/dev",  "/a/b/@send",
                                         "/@%zsend/", "@send/x", "/dev/", "*"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        assert_int_equal(request_path_look(paths[i]), REQUEST_PATH_CONNECTIONS);
    for (size_t i = 0; i < ARRAY_LEN(sends); i++)
        assert_int_equal(request_path_look(sends[i]), REQUEST_PATH_SEND);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(request_path_look(others[i]), REQUEST_PATH_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_management_api_is_recognized_in_every_spelling),
        cmocka_unit_test(test_everything_else_is_the_listeners),
        cmocka_unit_test(test_it_waits_until_it_is_sure),
        cmocka_unit_test(test_a_path_alone_is_judged_the_same),
    };

    return cmocka_run_group_tests_name("request_line", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "extensions.h"
#include "http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

static bool is_offered(const char *first, const char *second)
{
    struct http_head head = {.header_count = second ? 3 : 2};

    head.headers[0] = (struct http_header){{"Host", 4}, {"permessage-deflate", 18}};
    head.headers[1] =
        (struct http_header){{"sec-websocket-extensions", 24}, {first, strlen(first)}};
    if (second)
        head.headers[2] =
            (struct http_header){{"Sec-WebSocket-Extensions", 24}, {second, strlen(second)}};
    return extensions_offer_deflate(&head);
}

static void test_what_clients_offer_is_taken(void **state)
{
    static const char *const offers[] = {
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits = 10",
        "permessage-deflate; client_max_window_bits=\"15\"",
        "Permessage-Deflate ; client_no_context_takeover; client_max_window_bits=9",
        "x-webkit-deflate-frame, permessage-deflate",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ",, permessage-deflate",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(offers); i++)
        assert_true(is_offered(offers[i], NULL));
    assert_true(is_offered("foo", "permessage-deflate"));
}

static void test_what_asks_something_of_the_server_or_is_broken_is_declined(void **state)
{
    static const char *const offers[] = {
        "",
        "permessage",
        "permessage-deflate-2",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=010",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; mystery",
        "permessage-deflate;",
        "permessage-deflate;; client_max_window_bits",
        "foo; x=\"permessage-deflate\"",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(offers); i++)
        assert_false(is_offered(offers[i], NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_clients_offer_is_taken),
        cmocka_unit_test(test_what_asks_something_of_the_server_or_is_broken_is_declined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

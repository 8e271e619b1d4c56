/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cloudwatch.c - what counts as what, and how it is written.
 */
#include "cloudwatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char post_route[] = "POST /@connections/{connectionId}";

static int set_up(void **state)
{
    *state = cloudwatch_create("local", "dev");
    return 0;
}

static int tear_down(void **state)
{
    cloudwatch_free(*state);
    return 0;
}

/* The value of a series, or -1 when it is not there. */
static int64_t sample(const struct cloudwatch *cloudwatch, const char *metric, const char *route)
{
    char series[512];
    struct buf out;
    const char *at;
    int64_t value = -1;

    snprintf(series, sizeof(series), "\n%s{ApiId=\"local\",Stage=\"dev\",Route=\"%s\"} ", metric,
             route);
    buf_init(&out, 1000000);
    cloudwatch_write(cloudwatch, &out);
    at = strstr(buf_str(&out), series);
    if (at)
        value = strtoll(at + strlen(series), NULL, 10);
    buf_done(&out);
    return value;
}

/* ConnectCount, MessageCount, IntegrationError, ClientError, ExecutionError, number of latencies */
static void assert_samples(const struct cloudwatch *cloudwatch, const char *route,
                           const int64_t expected[6])
{
    static const char *const metrics[] = {"ConnectCount",     "MessageCount",
                                          "IntegrationError", "ClientError",
                                          "ExecutionError",   "IntegrationLatency_count"};

    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        int64_t value = sample(cloudwatch, metrics[i], route);

        if (value != expected[i])
            fail_msg("%s of %s is %" PRId64 ", not %" PRId64, metrics[i], route, value,
                     expected[i]);
    }
}

static void count(struct cloudwatch *cloudwatch, const char *route, enum cloudwatch_kind kind,
                  enum cloudwatch_outcome outcome, int64_t latency_ms)
{
    cloudwatch_event(cloudwatch, &(struct cloudwatch_event){.route = route,
                                                            .kind = kind,
                                                            .outcome = outcome,
                                                            .latency_ms = latency_ms});
}

static void test_connect_counts_as_connect_and_message(void **state)
{
    count(*state, "$connect", CLOUDWATCH_CONNECT, CLOUDWATCH_OK, 12);
    assert_samples(*state, "$connect", (const int64_t[]){1, 1, 0, 0, 0, 1});
    assert_int_equal(sample(*state, "IntegrationLatency_sum", "$connect"), 12);
}

static void test_connect_that_the_integration_rejects_counts_too_and_as_client_error(void **state)
{
    count(*state, "$connect", CLOUDWATCH_CONNECT, CLOUDWATCH_DENIED, 3);
    assert_samples(*state, "$connect", (const int64_t[]){1, 1, 0, 1, 0, 1});
}

static void test_connect_that_never_reaches_the_integration_is_a_client_error_only(void **state)
{
    count(*state, "$connect", CLOUDWATCH_CONNECT, CLOUDWATCH_REFUSED, -1);
    assert_samples(*state, "$connect", (const int64_t[]){0, 0, 0, 1, 0, -1});
}

static void test_one_way_message_counts_once(void **state)
{
    count(*state, "join", CLOUDWATCH_MESSAGE, CLOUDWATCH_OK, 7);
    assert_samples(*state, "join", (const int64_t[]){-1, 1, 0, 0, 0, 1});
}

static void test_two_way_message_counts_in_and_out(void **state)
{
    cloudwatch_event(*state, &(struct cloudwatch_event){.route = "ask",
                                                        .kind = CLOUDWATCH_MESSAGE,
                                                        .is_two_way = true,
                                                        .latency_ms = 7});
    assert_samples(*state, "ask", (const int64_t[]){-1, 2, 0, 0, 0, 1});
}

static void test_post_counts_once_under_its_own_route_without_latency(void **state)
{
    count(*state, post_route, CLOUDWATCH_CONNECTION_API, CLOUDWATCH_OK, 5);
    assert_samples(*state, post_route, (const int64_t[]){-1, 1, 0, 0, 0, -1});
}

static void test_other_requests_to_connections_are_no_messages(void **state)
{
    static const char *const routes[] = {"GET /@connections/{connectionId}",
                                         "DELETE /@connections/{connectionId}"};

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        count(*state, routes[i], CLOUDWATCH_CONNECTION_API, CLOUDWATCH_OK, -1);
        assert_samples(*state, routes[i], (const int64_t[]){-1, 0, 0, 0, 0, -1});
    }
    count(*state, post_route, CLOUDWATCH_CONNECTION_API, CLOUDWATCH_REFUSED, -1);
    assert_samples(*state, post_route, (const int64_t[]){-1, 0, 0, 1, 0, -1});
}

static void test_disconnect_counts_once_even_without_an_integration(void **state)
{
    count(*state, "$disconnect", CLOUDWATCH_DISCONNECT, CLOUDWATCH_OK, -1);
    assert_samples(*state, "$disconnect", (const int64_t[]){-1, 1, 0, 0, 0, -1});
    count(*state, "$disconnect", CLOUDWATCH_DISCONNECT, CLOUDWATCH_OK, 4);
    assert_samples(*state, "$disconnect", (const int64_t[]){-1, 2, 0, 0, 0, 1});
}

static void test_status_5xx_of_a_function_is_an_execution_error_only(void **state)
{
    cloudwatch_event(*state, &(struct cloudwatch_event){.route = "ask",
                                                        .kind = CLOUDWATCH_MESSAGE,
                                                        .outcome = CLOUDWATCH_EXECUTION_FAILED,
                                                        .is_two_way = true, /* its body was sent */
                                                        .latency_ms = 9});
    assert_samples(*state, "ask", (const int64_t[]){-1, 2, 0, 0, 1, 1});
}

static void test_function_that_cannot_be_called_is_an_execution_error_only(void **state)
{
    count(*state, "join", CLOUDWATCH_MESSAGE, CLOUDWATCH_EXECUTION_FAILED, -1);
    assert_samples(*state, "join", (const int64_t[]){-1, 1, 0, 0, 1, -1});
}

static void test_integration_that_fails_is_an_integration_error_only(void **state)
{
    count(*state, "join", CLOUDWATCH_MESSAGE, CLOUDWATCH_INTEGRATION_FAILED, 9);
    assert_samples(*state, "join", (const int64_t[]){-1, 1, 1, 0, 0, 1});
}

static void test_message_without_a_route_is_a_client_error(void **state)
{
    count(*state, NULL, CLOUDWATCH_MESSAGE, CLOUDWATCH_REFUSED, -1);
    assert_samples(*state, "-", (const int64_t[]){-1, 1, 0, 1, 0, -1});
}

static void test_error_metrics_of_a_known_route_begin_with_zero(void **state)
{
    assert_int_equal(sample(*state, "ClientError", "join"), -1);
    cloudwatch_add_route(*state, "join");
    cloudwatch_add_route(*state, "$connect");
    assert_samples(*state, "join", (const int64_t[]){-1, 0, 0, 0, 0, -1});
    assert_samples(*state, "$connect", (const int64_t[]){0, 0, 0, 0, 0, -1});
}

static void test_text_as_prometheus_reads_it(void **state)
{
    struct cloudwatch *cloudwatch = cloudwatch_create("local", "dev");
    struct buf out;

    (void)state;
    count(cloudwatch, "join", CLOUDWATCH_MESSAGE, CLOUDWATCH_OK, 7);
    count(cloudwatch, "join", CLOUDWATCH_MESSAGE, CLOUDWATCH_OK, 0);
    count(cloudwatch, "$connect", CLOUDWATCH_CONNECT, CLOUDWATCH_OK, -1);
    buf_init(&out, 100000);
    cloudwatch_write(cloudwatch, &out);
    assert_string_equal(
        buf_str(&out),
        "# HELP ConnectCount Connects sent to the $connect route.\n"
        "# TYPE ConnectCount counter\n"
        "ConnectCount{ApiId=\"local\",Stage=\"dev\",Route=\"$connect\"} 1\n"
        "# HELP MessageCount Messages from and to clients.\n"
        "# TYPE MessageCount counter\n"
        "MessageCount{ApiId=\"local\",Stage=\"dev\",Route=\"$connect\"} 1\n"
        "MessageCount{ApiId=\"local\",Stage=\"dev\",Route=\"join\"} 2\n"
        "# HELP IntegrationError Integrations that failed.\n"
        "# TYPE IntegrationError counter\n"
        "IntegrationError{ApiId=\"local\",Stage=\"dev\",Route=\"$connect\"} 0\n"
        "IntegrationError{ApiId=\"local\",Stage=\"dev\",Route=\"join\"} 0\n"
        "# HELP ClientError Requests answered with a 4xx status.\n"
        "# TYPE ClientError counter\n"
        "ClientError{ApiId=\"local\",Stage=\"dev\",Route=\"$connect\"} 0\n"
        "ClientError{ApiId=\"local\",Stage=\"dev\",Route=\"join\"} 0\n"
        "# HELP ExecutionError Calls of integrations that failed or came back with 5xx.\n"
        "# TYPE ExecutionError counter\n"
        "ExecutionError{ApiId=\"local\",Stage=\"dev\",Route=\"$connect\"} 0\n"
        "ExecutionError{ApiId=\"local\",Stage=\"dev\",Route=\"join\"} 0\n"
        "# HELP IntegrationLatency Time that integrations took, in milliseconds.\n"
        "# TYPE IntegrationLatency summary\n"
        "IntegrationLatency_sum{ApiId=\"local\",Stage=\"dev\",Route=\"join\"} 7\n"
        "IntegrationLatency_count{ApiId=\"local\",Stage=\"dev\",Route=\"join\"} 2\n");
    buf_done(&out);
    cloudwatch_free(cloudwatch);
}

static void test_labels_are_escaped(void **state)
{
    cloudwatch_count(*state, "a\"b\\c\nd{}", CLOUDWATCH_MESSAGE_COUNT);
    assert_int_equal(sample(*state, "MessageCount", "a\\\"b\\\\c\\nd{}"), 1);
}

static void test_past_300_routes_they_count_as_other(void **state)
{
    char route[32];

    for (int i = 0; i < 305; i++) {
        snprintf(route, sizeof(route), "route-%d", i * 7919 % 305); /* in no order */
        cloudwatch_count(*state, route, CLOUDWATCH_MESSAGE_COUNT);
        cloudwatch_count(*state, route, CLOUDWATCH_MESSAGE_COUNT);
    }
    assert_int_equal(sample(*state, "MessageCount", "$other"), 2 * 5);
    for (int i = 0; i < 300; i++) {
        snprintf(route, sizeof(route), "route-%d", i * 7919 % 305);
        assert_int_equal(sample(*state, "MessageCount", route), 2);
    }
    snprintf(route, sizeof(route), "route-%d", 304 * 7919 % 305);
    assert_int_equal(sample(*state, "MessageCount", route), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connect_counts_as_connect_and_message),
        TEST(test_connect_that_the_integration_rejects_counts_too_and_as_client_error),
        TEST(test_connect_that_never_reaches_the_integration_is_a_client_error_only),
        TEST(test_one_way_message_counts_once),
        TEST(test_two_way_message_counts_in_and_out),
        TEST(test_post_counts_once_under_its_own_route_without_latency),
        TEST(test_other_requests_to_connections_are_no_messages),
        TEST(test_disconnect_counts_once_even_without_an_integration),
        TEST(test_status_5xx_of_a_function_is_an_execution_error_only),
        TEST(test_function_that_cannot_be_called_is_an_execution_error_only),
        TEST(test_integration_that_fails_is_an_integration_error_only),
        TEST(test_message_without_a_route_is_a_client_error),
        TEST(test_error_metrics_of_a_known_route_begin_with_zero),
        cmocka_unit_test(test_text_as_prometheus_reads_it),
        TEST(test_labels_are_escaped),
        TEST(test_past_300_routes_they_count_as_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_metrics.c - the Prometheus text.
 */
#include "metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void test_every_metric_has_help_type_and_value(void **state)
{
    uint64_t values[sizeof(struct metrics) / sizeof(uint64_t)];
    struct metrics metrics;
    struct buf out;
    size_t helps = 0;
    size_t types = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        values[i] = 9000000000000000001U + i;
    memcpy(&metrics, values, sizeof(metrics));
    buf_init(&out, 100000);
    metrics_write(&metrics, &out);
    for (const char *p = buf_str(&out); (p = strstr(p, "# HELP ")); p++)
        helps++;
    for (const char *p = buf_str(&out); (p = strstr(p, "# TYPE ")); p++)
        types++;
    assert_int_equal(helps, ARRAY_LEN(values) + 2);
    assert_int_equal(types, helps);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct buf number;

        buf_init(&number, 32);
        buf_addf(&number, " %llu\n", (unsigned long long)values[i]);
        if (!strstr(buf_str(&out), buf_str(&number)))
            fail_msg("value %zu of the struct is not written", i);
        buf_done(&number);
    }
    buf_done(&out);
}

static void test_counters_end_in_total_and_gauges_do_not(void **state)
{
    struct metrics metrics = {.connects = 3, .open_connections = 2, .uptime_s = 60};
    struct buf out;

    (void)state;
    buf_init(&out, 100000);
    metrics_write(&metrics, &out);
    assert_non_null(strstr(buf_str(&out), "# TYPE switchboard_connects_total counter\n"
                                          "switchboard_connects_total 3\n"));
    assert_non_null(strstr(buf_str(&out), "# TYPE switchboard_open_connections gauge\n"
                                          "switchboard_open_connections 2\n"));
    assert_non_null(strstr(buf_str(&out), "\nswitchboard_uptime_seconds 60\n"));
    assert_non_null(
        strstr(buf_str(&out), "\nswitchboard_build_info{version=\"" SWITCHBOARD_VERSION "\"} 1\n"));
    assert_int_equal(out.data[out.len - 1], '\n');
    buf_done(&out);
}

static void test_resident_memory_is_that_of_this_process(void **state)
{
    static const char name[] = "\nswitchboard_resident_memory_bytes ";
    struct metrics metrics = {0};
    struct buf out;
    const char *at;
    long long bytes;

    (void)state;
    buf_init(&out, 100000);
    metrics_write(&metrics, &out);
    at = strstr(buf_str(&out), name);
    assert_non_null(at);
    bytes = strtoll(at + strlen(name), NULL, 10);
    assert_true(bytes > 500000 && bytes < 1LL << 40);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_metric_has_help_type_and_value),
        cmocka_unit_test(test_counters_end_in_total_and_gauges_do_not),
        cmocka_unit_test(test_resident_memory_is_that_of_this_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

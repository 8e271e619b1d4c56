/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rate_limit.c - token buckets, alone, by name and by route.
 */
#include "rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static struct rate rate_of(const char *text)
{
    struct rate rate = {-1, -1};
    struct error err = {0};

    assert_int_equal(rate_parse(text, &rate, &err), OK);
    return rate;
}

static void test_parse(void **state)
{
    static const char *const wrong[] = {"10",    "10/",          "/s",       "10/d",   "0/s",
                                        "-1/s",  "10/s:",        "10/s:0",   "10/s:x", "10/s:5x",
                                        " 10/s", "1e3/s",        "10/s:0.5", "10/s,5", "1.2.3/s",
                                        "inf/s", "99999999999/s"};
    struct rate rate = rate_of("10/s:20");

    (void)state;
    assert_float_equal(rate.per_ms, 0.01, 1e-9);
    assert_float_equal(rate.burst, 20, 1e-9);
    rate = rate_of("30/m");
    assert_float_equal(rate.per_ms, 0.0005, 1e-9);
    assert_float_equal(rate.burst, 30, 1e-9);
    rate = rate_of("0.5/s");
    assert_float_equal(rate.burst, 1, 1e-9);
    rate = rate_of("7200/h:2");
    assert_float_equal(rate.per_ms, 0.002, 1e-9);
    assert_float_equal(rate_of("").burst, 0, 0);
    assert_float_equal(rate_of("off").burst, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct error err = {0};
        struct rate kept = {1, 2};

        assert_int_equal(rate_parse(wrong[i], &kept, &err), INVALID);
        assert_true(kept.burst == 2); /* untouched */
        assert_non_null(strstr(err.text, "is not a rate"));
    }
}

static void test_bucket(void **state)
{
    struct rate rate = rate_of("10/s:3");
    struct rate_bucket bucket = {0};
    int64_t now = 1000;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(rate_bucket_take(&bucket, &rate, now), 0);
    assert_int_equal(rate_bucket_take(&bucket, &rate, now), 100);
    assert_int_equal(rate_bucket_take(&bucket, &rate, now + 60), 40); /* refusing is free */
    assert_int_equal(rate_bucket_take(&bucket, &rate, now + 100), 0);
    assert_true(rate_bucket_take(&bucket, &rate, now + 100) > 0);
    /* A long pause fills it to the burst and not further. */
    now += 1000000;
    for (int i = 0; i < 3; i++)
        assert_int_equal(rate_bucket_take(&bucket, &rate, now), 0);
    assert_true(rate_bucket_take(&bucket, &rate, now) > 0);
}

/* What it says to wait is enough, and one millisecond less than that minus rounding is not. */
static void test_wait_is_enough(void **state)
{
    static const char *const rates[] = {"3/s:1", "7/m:2", "1/h", "1000/s:1", "0.3/s"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct rate rate = rate_of(rates[i]);
        struct rate_bucket bucket = {0};
        int64_t now = 5;

        for (int n = 0; n < 50; n++) {
            int64_t wait = rate_bucket_take(&bucket, &rate, now);

            if (wait == 0)
                continue;
            if (wait > 2)
                assert_true(rate_bucket_take(&bucket, &rate, now + wait - 2) > 0);
            now += wait;
            assert_int_equal(rate_bucket_take(&bucket, &rate, now), 0);
        }
    }
}

static void test_the_average_holds(void **state)
{
    struct rate rate = rate_of("10/s:20");
    struct rate_bucket bucket = {0};
    int taken = 0;

    (void)state;
    for (int64_t now = 1; now <= 60000; now++)
        taken += rate_bucket_take(&bucket, &rate, now) == 0;
    assert_in_range(taken, 10 * 60 + 19, 10 * 60 + 20);
}

static void test_no_limit(void **state)
{
    struct rate rate = rate_of("off");
    struct rate_bucket bucket = {0};
    struct rate_table *table = rate_table_create(10);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rate_bucket_take(&bucket, &rate, 1), 0);
        assert_int_equal(rate_table_take(table, &rate, "u", 1), 0);
    }
    assert_int_equal(rate_table_len(table), 0);
    rate_table_free(table);
    rate_table_free(NULL);
}

/* A smaller burst counts at once. */
static void test_a_changed_rate(void **state)
{
    struct rate wide = rate_of("10/s:100");
    struct rate narrow = rate_of("10/s:2");
    struct rate_bucket bucket = {0};

    (void)state;
    assert_int_equal(rate_bucket_take(&bucket, &wide, 1), 0);
    assert_int_equal(rate_bucket_take(&bucket, &narrow, 1), 0);
    assert_int_equal(rate_bucket_take(&bucket, &narrow, 1), 0);
    assert_true(rate_bucket_take(&bucket, &narrow, 1) > 0);
}

static void test_names_are_apart(void **state)
{
    struct rate rate = rate_of("1/s:2");
    struct rate_table *table = rate_table_create(100000);
    char name[32];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5000; i++) {
            snprintf(name, sizeof(name), "user-%d", i);
            if (round < 2)
                assert_int_equal(rate_table_take(table, &rate, name, 7), 0);
            else
                assert_true(rate_table_take(table, &rate, name, 7) > 0);
        }
    }
    assert_int_equal(rate_table_len(table), 5000);
    rate_table_free(table);
}

static void test_full_buckets_go(void **state)
{
    struct rate rate = rate_of("10/s:2");
    struct rate_table *table = rate_table_create(100000);
    char name[32];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        (void)rate_table_take(table, &rate, name, 1000);
    }
    assert_int_equal(rate_table_len(table), 1000);
    /* After a second all are full; two go for each take. */
    for (int i = 0; i < 500; i++)
        (void)rate_table_take(table, &rate, "somebody", 2000 + i * 200);
    assert_in_range(rate_table_len(table), 1, 2);
    rate_table_free(table);
}

/* The last one goes, and others come. */
static void test_an_emptied_table_goes_on(void **state)
{
    struct rate rate = rate_of("10/s:2");
    struct rate_table *table = rate_table_create(100);
    int64_t now = 1000;

    (void)state;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(rate_table_take(table, &rate, "a", now), 0);
        assert_int_equal(rate_table_take(table, &rate, "b", now), 0);
        assert_int_equal(rate_table_take(table, &rate, "a", now), 0);
        assert_true(rate_table_take(table, &rate, "a", now) > 0);
        assert_int_equal(rate_table_len(table), 2);
        now += 10000;
        assert_int_equal(rate_table_take(table, &rate, "c", now), 0); /* both are full and go */
        assert_int_equal(rate_table_len(table), 1);
        now += 10000;
    }
    rate_table_free(table);
}

static void test_never_more_than_the_most(void **state)
{
    struct rate rate = rate_of("1/h:1");
    struct rate_table *table = rate_table_create(50);
    char name[32];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        assert_int_equal(rate_table_take(table, &rate, name, 1000), 0);
        assert_true(rate_table_len(table) <= 50);
    }
    assert_true(rate_table_take(table, &rate, "user-999", 1000) > 0); /* the newest are kept */
    rate_table_free(table);
}

static void test_routes(void **state)
{
    struct rate_routes routes = {0};
    struct error err = {0};

    (void)state;
    assert_int_equal(rate_routes_parse("chat=1/s:2, ping=1/m", &routes, &err), OK);
    assert_int_equal(routes.count, 2);
    assert_int_equal(rate_routes_take(&routes, "chat", 1), 0);
    assert_int_equal(rate_routes_take(&routes, "chat", 1), 0);
    assert_true(rate_routes_take(&routes, "chat", 1) > 0);
    assert_int_equal(rate_routes_take(&routes, "ping", 1), 0);
    assert_true(rate_routes_take(&routes, "ping", 1) > 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(rate_routes_take(&routes, "chatter", 1), 0);
    assert_int_equal(rate_routes_parse("", &routes, &err), OK);
    assert_int_equal(routes.count, 0);
}

static void test_wrong_routes(void **state)
{
    static const char *const wrong[] = {"chat", "=1/s", "chat=1", "chat=1/s;ping=1/s"};
    struct rate_routes routes = {0};
    struct error err = {0};
    char many[40 * 12] = "";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(rate_routes_parse(wrong[i], &routes, &err), INVALID);
        assert_int_equal(routes.count, 0);
    }
    for (int i = 0; i < 40; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "r%d=1/s,", i);
    assert_int_equal(rate_routes_parse(many, &routes, &err), INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_wait_is_enough),
        cmocka_unit_test(test_the_average_holds),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_a_changed_rate),
        cmocka_unit_test(test_names_are_apart),
        cmocka_unit_test(test_full_buckets_go),
        cmocka_unit_test(test_an_emptied_table_goes_on),
        cmocka_unit_test(test_never_more_than_the_most),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_wrong_routes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

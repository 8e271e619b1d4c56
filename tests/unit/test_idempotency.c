/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are remembered: the same again, another request, time and bounds.
 */
#include "idempotency.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1000 };

static struct idempotency_request request(const char *key, const char *body, int64_t now_ms)
{
    return (struct idempotency_request){key, body, strlen(body), now_ms};
}

static enum idempotency_result find(const struct idempotency *all, const char *key,
                                    const char *body, int64_t now_ms, const char **answer)
{
    struct idempotency_request wanted = request(key, body, now_ms);

    return idempotency_find(all, &wanted, answer);
}

static void put(struct idempotency *all, const char *key, const char *body, const char *answer)
{
    struct idempotency_request done = request(key, body, NOW);

    idempotency_put(all, &done, answer);
}

static void test_the_same_request_gets_the_same_answer(void **state)
{
    struct idempotency *all = idempotency_create();
    const char *answer = NULL;

    (void)state;
    assert_int_equal(find(all, "k", "body", NOW, &answer), IDEMPOTENCY_NEW);
    put(all, "k", "body", "first");
    put(all, "l", "body", "second");
    assert_int_equal(find(all, "k", "body", NOW, &answer), IDEMPOTENCY_SAME);
    assert_string_equal(answer, "first");
    assert_int_equal(find(all, "k", "other", NOW, &answer), IDEMPOTENCY_OTHER);
    assert_int_equal(find(all, "m", "body", NOW, &answer), IDEMPOTENCY_NEW);
    idempotency_free(all);
}

static void test_a_day_later_it_is_new(void **state)
{
    struct idempotency *all = idempotency_create();
    const char *answer = NULL;

    (void)state;
    put(all, "k", "body", "first");
    assert_int_equal(find(all, "k", "body", NOW + IDEMPOTENCY_MS - 1, &answer), IDEMPOTENCY_SAME);
    assert_int_equal(find(all, "k", "body", NOW + IDEMPOTENCY_MS, &answer), IDEMPOTENCY_NEW);
    idempotency_free(all);
}

static void test_the_oldest_make_room(void **state)
{
    struct idempotency *all = idempotency_create();
    const char *answer = NULL;
    char key[16];

    (void)state;
    for (int i = 0; i <= IDEMPOTENCY_ENTRIES; i++) {
        snprintf(key, sizeof(key), "%d", i);
        put(all, key, "body", key);
    }
    assert_int_equal(find(all, "0", "body", NOW, &answer), IDEMPOTENCY_NEW);
    assert_int_equal(find(all, "1", "body", NOW, &answer), IDEMPOTENCY_SAME);
    assert_int_equal(find(all, key, "body", NOW, &answer), IDEMPOTENCY_SAME);
    assert_string_equal(answer, key);
    idempotency_free(all);
}

static void test_the_answers_are_bounded_too(void **state)
{
    struct idempotency *all = idempotency_create();
    char *large = calloc(1, IDEMPOTENCY_ANSWER_BYTES);
    const char *answer = NULL;

    (void)state;
    memset(large, 'x', IDEMPOTENCY_ANSWER_BYTES - 1);
    put(all, "small", "body", "y");
    put(all, "large", "body", large);
    assert_int_equal(find(all, "small", "body", NOW, &answer), IDEMPOTENCY_SAME);
    put(all, "next", "body", "z");
    assert_int_equal(find(all, "small", "body", NOW, &answer), IDEMPOTENCY_NEW);
    assert_int_equal(find(all, "large", "body", NOW, &answer), IDEMPOTENCY_SAME);
    put(all, "last", "body", "z");
    assert_int_equal(find(all, "large", "body", NOW, &answer), IDEMPOTENCY_NEW);
    assert_int_equal(find(all, "next", "body", NOW, &answer), IDEMPOTENCY_SAME);
    free(large);
    idempotency_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_request_gets_the_same_answer),
        cmocka_unit_test(test_a_day_later_it_is_new),
        cmocka_unit_test(test_the_oldest_make_room),
        cmocka_unit_test(test_the_answers_are_bounded_too),
    };

    return cmocka_run_group_tests_name("idempotency", tests, NULL, NULL);
}

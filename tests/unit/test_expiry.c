/* SPDX-License-Identifier: Apache-2.0 */
#include "expiry.h"
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TIME_MS = 20, GIVE_UP_MS = 5000, THINGS = 5 };

struct fixture {
    struct loop *loop;
    struct expiry_queue queue;
    struct expiry things[THINGS];
    char order[THINGS * 2 + 1]; /* the numbers of the things, as they expired */
    size_t expected;            /* the loop stops after so many */
    int again;                  /* a thing to add again when the first one expires, or -1 */
    int64_t began_ms;
};

static void on_expired(void *ctx, struct expiry *expiry)
{
    struct fixture *f = ctx;
    size_t n = strlen(f->order);

    assert_null(expiry->queue);
    f->order[n] = (char)('0' + (expiry - f->things));
    if (n == 0 && f->again >= 0)
        expiry_add(&f->queue, &f->things[f->again]);
    if (n + 1 == f->expected)
        loop_stop(f->loop);
}

static void on_give_up(void *ctx)
{
    (void)ctx;
    fail_msg("nothing has expired within %d ms", GIVE_UP_MS);
}

static void run(struct fixture *f, size_t expected)
{
    struct timer *give_up = loop_timer(f->loop, GIVE_UP_MS, 0, on_give_up, NULL);

    f->expected = expected;
    loop_run(f->loop);
    loop_timer_stop(give_up);
}

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    f->loop = loop_create();
    f->again = -1;
    f->began_ms = loop_now_ms(f->loop);
    expiry_init(&f->queue, f->loop, TIME_MS, on_expired, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    expiry_done(&f->queue);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void test_things_expire_in_order_and_not_early(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < THINGS; i++)
        expiry_add(&f->queue, &f->things[i]);
    run(f, THINGS);
    assert_string_equal(f->order, "01234");
    assert_true(loop_now_ms(f->loop) - f->began_ms >= TIME_MS);
}

static void test_what_was_removed_does_not_expire(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < THINGS; i++)
        expiry_add(&f->queue, &f->things[i]);
    expiry_remove(&f->things[0]);
    expiry_remove(&f->things[2]);
    expiry_remove(&f->things[4]);
    expiry_remove(&f->things[4]); /* it is in none */
    run(f, 2);
    assert_string_equal(f->order, "13");
}

static void test_a_thing_can_be_added_again_when_it_expires(void **state)
{
    struct fixture *f = *state;

    f->again = 0;
    expiry_add(&f->queue, &f->things[0]);
    run(f, 2);
    assert_string_equal(f->order, "00");
    assert_true(loop_now_ms(f->loop) - f->began_ms >= 2 * TIME_MS);
}

static void test_the_queue_works_again_after_it_ran_empty(void **state)
{
    struct fixture *f = *state;

    expiry_add(&f->queue, &f->things[3]);
    run(f, 1);
    expiry_add(&f->queue, &f->things[1]);
    run(f, 2);
    assert_string_equal(f->order, "31");
}

static void test_done_takes_out_what_is_left(void **state)
{
    struct fixture *f = *state;

    expiry_add(&f->queue, &f->things[0]);
    expiry_add(&f->queue, &f->things[1]);
    expiry_done(&f->queue);
    assert_null(f->things[0].queue);
    assert_null(f->things[1].queue);
    assert_null(f->queue.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_things_expire_in_order_and_not_early, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_was_removed_does_not_expire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_thing_can_be_added_again_when_it_expires, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_queue_works_again_after_it_ran_empty, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_done_takes_out_what_is_left, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

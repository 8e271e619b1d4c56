/* SPDX-License-Identifier: Apache-2.0 */
#include "connections.h"
#include "delivery.h"
#include "metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { QUEUE_BYTES = 256 };

static unsigned outputs;

static void on_output(struct connection *connection)
{
    (void)connection;
    outputs++;
}

static const struct socket_ops ops = {.on_output = on_output};

static struct connection *open_one(struct connections *connections)
{
    struct connection *connection = connection_create(connections);

    connection->socket_ops = &ops;
    connection_release(connection);
    connection_set_state(connection, CONNECTION_OPEN);
    return connection;
}

static int set_up(void **state)
{
    *state = connections_create(QUEUE_BYTES);
    outputs = 0;
    return 0;
}

static int tear_down(void **state)
{
    struct connections *connections = *state;

    while (connections_first(connections))
        connection_free(connections, connections_first(connections));
    connections_free(connections);
    return 0;
}

static void test_a_connection_is_found_by_its_id_until_it_is_freed(void **state)
{
    struct connections *connections = *state;
    struct connection *a = open_one(connections);
    struct connection *b = open_one(connections);
    char id[CONNECTION_ID_BYTES];

    memcpy(id, a->id, sizeof(id));
    assert_ptr_equal(connection_find(connections, a->id), a);
    assert_ptr_equal(connection_find(connections, b->id), b);
    assert_int_equal(connections_count(connections), 2);
    connection_free(connections, a);
    assert_null(connection_find(connections, id));
    assert_int_equal(connections_count(connections), 1);
    assert_ptr_equal(connections_first(connections), b);
    assert_null(connections_next(b));
}

static void test_joining_twice_is_joining_once_and_the_last_to_leave_removes_the_topic(void **state)
{
    struct connections *connections = *state;
    struct connection *a = open_one(connections);
    struct connection *b = open_one(connections);

    assert_true(connection_subscribe(connections, a, "t"));
    assert_false(connection_subscribe(connections, a, "t"));
    assert_true(connection_subscribe(connections, b, "t"));
    assert_int_equal(topic_count(connections, "t"), 2);
    assert_true(connection_unsubscribe(connections, a, "t"));
    assert_false(connection_unsubscribe(connections, a, "t"));
    assert_int_equal(topic_count(connections, "t"), 1);
    connection_free(connections, b);
    assert_int_equal(topic_count(connections, "t"), 0);
}

static void leave(void *ctx, struct connection *connection)
{
    assert_true(connection_unsubscribe(ctx, connection, "t"));
}

static void test_a_member_may_leave_while_the_topic_is_walked(void **state)
{
    struct connections *connections = *state;

    for (int i = 0; i < 5; i++)
        assert_true(connection_subscribe(connections, open_one(connections), "t"));
    topic_each(connections, "t", leave, connections);
    assert_int_equal(topic_count(connections, "t"), 0);
    topic_each(connections, "t", leave, connections); /* nobody is left: nothing happens */
}

static void test_frames_have_the_three_lengths_of_rfc_6455(void **state)
{
    static char text[70000];
    struct buf out;

    (void)state;
    memset(text, 'x', sizeof(text));
    buf_init(&out, SIZE_MAX);
    frame_write_text(&out, text, 125);
    assert_memory_equal(out.data,
                        "\x81\x7d"
                        "x",
                        3);
    assert_int_equal(out.len, 2 + 125);
    buf_clear(&out);
    frame_write_text(&out, text, 126);
    assert_memory_equal(out.data,
                        "\x81\x7e\x00\x7e"
                        "x",
                        5);
    buf_clear(&out);
    frame_write_text(&out, text, 65535);
    assert_memory_equal(out.data, "\x81\x7e\xff\xff", 4);
    buf_clear(&out);
    frame_write_text(&out, text, 65536);
    assert_memory_equal(out.data, "\x81\x7f\0\0\0\0\0\x01\0\0", 10);
    assert_int_equal(out.len, 10 + 65536);
    buf_done(&out);
}

static void test_output_is_announced_once_until_it_is_flushed(void **state)
{
    struct connection *connection = open_one(*state);

    assert_int_equal(connection_send(connection, "a", 1), OK);
    assert_int_equal(connection_send(connection, "b", 1), OK);
    assert_int_equal(outputs, 1);
    assert_memory_equal(connection->out.data,
                        "\x81\x01"
                        "a\x81\x01"
                        "b",
                        6);
    connection->is_output_pending = false;
    buf_clear(&connection->out);
    assert_int_equal(connection_send(connection, "c", 1), OK);
    assert_int_equal(outputs, 2);
}

static void test_a_queue_takes_exactly_its_limit_and_one_byte_more_closes_with_1008(void **state)
{
    char text[QUEUE_BYTES];
    struct connection *connection = open_one(*state);

    memset(text, 'x', sizeof(text));
    assert_int_equal(connection_send(connection, text, QUEUE_BYTES - 4), OK);
    assert_int_equal(connection->out.len, QUEUE_BYTES);
    connection = open_one(*state);
    assert_int_equal(connection_send(connection, text, QUEUE_BYTES - 3), LIMIT);
    assert_int_equal(connection->state, CONNECTION_CLOSING);
    assert_int_equal(connection->close_code, 1008);
    assert_int_equal(connection_send(connection, "x", 1), GONE);
}

/* As websocket.c says it: 100 bytes of the first frame have gone. */
static struct connection *open_half_sent(struct connections *connections)
{
    char text[QUEUE_BYTES] = {0};
    struct connection *connection = open_one(connections);

    assert_int_equal(connection_send(connection, text, 150), OK);
    connection->out_sent = 100;
    connection->out_owed = connection->out.len - 100;
    return connection;
}

static void test_what_the_socket_has_does_not_count(void **state)
{
    char text[QUEUE_BYTES];
    struct connection *connection = open_half_sent(*state);
    size_t owed = connection->out_owed;

    memset(text, 'x', sizeof(text));
    assert_int_equal(connection_unsent(connection), owed);
    assert_int_equal(connection_send(connection, text, QUEUE_BYTES - owed - 4), OK);
    assert_int_equal(connection_unsent(connection), QUEUE_BYTES);
    assert_int_equal(connection->out_sent, 0);
    assert_int_equal(connection->out_owed, owed);
    assert_int_equal((unsigned char)connection->out.data[owed], 0x81);
    assert_false(connection_make_room(connection, 1));
}

static void test_a_frame_that_was_begun_stays_when_the_queue_is_full(void **state)
{
    char text[QUEUE_BYTES] = {0};
    struct connection *connection = open_half_sent(*state);
    size_t owed = connection->out_owed;

    assert_int_equal(connection_send(connection, "x", 1), OK);
    assert_int_equal(connection_send(connection, text, QUEUE_BYTES - 4), LIMIT);
    assert_int_equal(connection->close_code, 1008);
    assert_int_equal(connection->out_sent, 0);
    assert_int_equal(connection->out.len, owed);
}

static void test_the_first_close_stands(void **state)
{
    struct connection *connection = open_one(*state);

    connection_close(connection, 1001, "Going away");
    connection_close(connection, 1012, "Service restart");
    assert_int_equal(connection->close_code, 1001);
    assert_string_equal(connection->close_reason, "Going away");
}

static void test_what_is_sent_while_the_handshake_is_held_goes_behind_the_greeting(void **state)
{
    struct connection *connection = connection_create(*state);

    connection->socket_ops = &ops;
    assert_int_equal(connection_send(connection, "early", 5), OK);
    assert_int_equal(connection->out.len, 0);
    assert_int_equal(connection_send_greeting(connection, "\x81\x02hi", 4), OK);
    connection_release(connection);
    assert_memory_equal(connection->out.data,
                        "\x81\x02hi\x81\x05"
                        "early",
                        4 + 7);
    assert_int_equal(connection->out.len, 4 + 7);
    connection_close(connection, 1000, "bye");
    assert_int_equal(connection->state, CONNECTION_OPENING);
    assert_true(connection->has_close);
}

static size_t deliver_text(struct connections *connections, struct connection *origin,
                           struct delivery delivery)
{
    struct metrics metrics = {0};
    struct delivery_context context = {connections, &metrics};

    delivery.payload = "{}";
    delivery.payload_len = 2;
    return deliver(&context, origin, &delivery);
}

static void test_deliveries_reach_whom_they_name(void **state)
{
    struct connections *connections = *state;
    struct connection *a = open_one(connections);
    struct connection *b = open_one(connections);

    connection_subscribe(connections, a, "t");
    connection_subscribe(connections, b, "t");
    connection_subscribe(connections, b, "user:u1");
    assert_int_equal(deliver_text(connections, a, (struct delivery){.kind = DELIVERY_REPLY}), 1);
    assert_int_equal(a->out.len, 4);
    assert_int_equal(b->out.len, 0);
    assert_int_equal(deliver_text(connections, NULL, (struct delivery){.kind = DELIVERY_REPLY}), 0);
    assert_int_equal(deliver_text(connections, a,
                                  (struct delivery){DELIVERY_CONNECTION, b->id, NULL, 0, NULL, 0}),
                     1);
    assert_int_equal(
        deliver_text(connections, a, (struct delivery){DELIVERY_USER, "u1", NULL, 0, NULL, 0}), 1);
    assert_int_equal(
        deliver_text(connections, a, (struct delivery){DELIVERY_USER, "u2", NULL, 0, NULL, 0}), 0);
    assert_int_equal(
        deliver_text(connections, a, (struct delivery){DELIVERY_TOPIC, "t", NULL, 0, a->id, 0}), 1);
    assert_int_equal(deliver_text(connections, a, (struct delivery){.kind = DELIVERY_ALL}), 2);
}

static void test_a_close_that_may_not_be_sent_becomes_1000(void **state)
{
    static const char *const payloads[] = {"{\"code\":1006}",  "{\"code\":99}", "{\"code\":5000}",
                                           "{\"code\":\"x\"}", "not json",      NULL};
    struct metrics metrics = {0};
    struct delivery_context context = {*state, &metrics};

    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        struct connection *connection = open_one(*state);
        struct delivery delivery = {DELIVERY_CLOSE, NULL, payloads[i], 0, NULL, 0};

        delivery.payload_len = payloads[i] ? strlen(payloads[i]) : 0;
        assert_int_equal(deliver(&context, connection, &delivery), 1);
        assert_int_equal(connection->close_code, 1000);
    }
}

static void test_a_close_carries_code_and_reason(void **state)
{
    struct connection *connection = open_one(*state);
    struct metrics metrics = {0};
    struct delivery_context context = {*state, &metrics};
    const char *payload = "{\"code\":4001,\"reason\":\"bye\"}";
    struct delivery delivery = {DELIVERY_CLOSE, connection->id, payload, strlen(payload), NULL, 0};

    assert_int_equal(deliver(&context, NULL, &delivery), 1);
    assert_int_equal(connection->close_code, 4001);
    assert_string_equal(connection->close_reason, "bye");
}

static size_t deliver_numbered(struct connections *connections, struct delivery delivery,
                               const char *payload)
{
    struct metrics metrics = {0};
    struct delivery_context context = {connections, &metrics};

    delivery.payload = payload;
    delivery.payload_len = strlen(payload);
    return deliver(&context, NULL, &delivery);
}

static void assert_text(struct connection *connection, const char *text)
{
    assert_int_equal(connection->out.len, strlen(text) + 2);
    assert_memory_equal(connection->out.data + 2, text, strlen(text));
    buf_clear(&connection->out);
}

static void test_seq_is_only_for_those_that_asked(void **state)
{
    struct connections *connections = *state;
    struct connection *plain = open_one(connections);
    struct connection *asked = open_one(connections);
    struct delivery delivery = {.kind = DELIVERY_ALL, .seq = 17};

    asked->wants_seq = true;
    assert_int_equal(deliver_numbered(connections, delivery, "{\"a\": 1}"), 2);
    assert_text(plain, "{\"a\": 1}");
    assert_text(asked, "{\"seq\":17,\"a\": 1}");
    assert_int_equal(deliver_numbered(connections, delivery, "{}"), 2);
    assert_text(plain, "{}");
    assert_text(asked, "{\"seq\":17}");
    assert_int_equal(deliver_numbered(connections, delivery, "[1, 2]"), 2);
    assert_text(plain, "[1, 2]");
    assert_text(asked, "{\"seq\":17,\"data\":[1, 2]}");
    delivery.seq = 0; /* ephemeral */
    assert_int_equal(deliver_numbered(connections, delivery, "{\"a\": 1}"), 2);
    assert_text(plain, "{\"a\": 1}");
    assert_text(asked, "{\"a\": 1}");
}

static void test_a_ping_is_a_frame_of_its_own(void **state)
{
    struct connection *connection = open_one(*state);

    connection_ping(connection);
    assert_int_equal(connection->out.len, 4);
    assert_memory_equal(connection->out.data, "\x89\x02sb", 4);
    connection_close(connection, 1000, "");
    connection_ping(connection);
    assert_int_equal(connection->out.len, 4);
}

static void test_the_user_is_the_one_whose_topic_it_is_in(void **state)
{
    struct connections *connections = *state;
    struct connection *connection = open_one(connections);

    assert_null(connection_user_id(connection));
    assert_false(connection_is_subscribed(connection, "t"));
    connection_subscribe(connections, connection, "user");
    connection_subscribe(connections, connection, "user:u1");
    connection_subscribe(connections, connection, "t");
    assert_string_equal(connection_user_id(connection), "u1");
    assert_true(connection_is_subscribed(connection, "t"));
    connection_unsubscribe(connections, connection, "user:u1");
    assert_null(connection_user_id(connection));
}

static void test_frames_are_read_as_they_were_written(void **state)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 70000};
    static char payload[70000];
    struct buf out;
    const char *text = NULL;
    size_t len = 0;
    size_t at = 0;

    (void)state;
    buf_init(&out, SIZE_MAX);
    assert_false(frame_next(&out, &at, &text, &len));
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        memset(payload, 'a' + (int)i, lengths[i]);
        frame_write_text(&out, payload, lengths[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        assert_true(frame_next(&out, &at, &text, &len));
        assert_int_equal(len, lengths[i]);
        for (size_t j = 0; j < len; j++)
            assert_int_equal(text[j], 'a' + (int)i);
    }
    assert_int_equal(at, out.len);
    assert_false(frame_next(&out, &at, &text, &len));
    buf_done(&out);
}

/* Its socket is somebody else's: nothing here finds it, and what it gets collects. */
static void test_a_virtual_connection_collects_what_it_gets(void **state)
{
    struct connections *connections = *state;
    struct connection *connection = connection_create_virtual("gw=", QUEUE_BYTES);
    const char *text = NULL;
    size_t len = 0;
    size_t at = 0;

    assert_string_equal(connection->id, "gw=");
    assert_int_equal(connection->state, CONNECTION_OPEN);
    assert_null(connection_find(connections, "gw="));
    assert_int_equal(connections_count(connections), 0);
    assert_int_equal(connection_send(connection, "{\"later\":1}", 11), OK);
    assert_false(frame_next(&connection->out, &at, &text, &len));
    assert_int_equal(connection_send_greeting(connection, "\x81\x02hi", 4), OK);
    connection_release(connection);
    assert_true(frame_next(&connection->out, &at, &text, &len));
    assert_memory_equal(text, "hi", len);
    assert_true(frame_next(&connection->out, &at, &text, &len));
    assert_int_equal(len, 11);
    assert_memory_equal(text, "{\"later\":1}", len);
    assert_false(frame_next(&connection->out, &at, &text, &len));
    connection_free_virtual(connection);
}

static void test_a_virtual_connection_is_closed_like_any_other(void **state)
{
    char text[QUEUE_BYTES] = {0};
    struct connection *connection = connection_create_virtual("gw=", QUEUE_BYTES);

    (void)state;
    connection->socket_ops = &ops;
    connection_release(connection);
    assert_int_equal(connection_send(connection, "x", 1), OK);
    assert_int_equal(outputs, 1);
    assert_int_equal(connection_send(connection, text, sizeof(text)), LIMIT);
    assert_true(connection->has_close);
    assert_int_equal(connection->state, CONNECTION_CLOSING);
    assert_int_equal(connection_send(connection, "x", 1), GONE);
    connection_free_virtual(connection);
    /* One that is freed before anybody has released it. */
    connection = connection_create_virtual("gw=", QUEUE_BYTES);
    assert_int_equal(connection_send(connection, "x", 1), OK);
    connection_free_virtual(connection);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_connection_is_found_by_its_id_until_it_is_freed),
        TEST(test_joining_twice_is_joining_once_and_the_last_to_leave_removes_the_topic),
        TEST(test_a_member_may_leave_while_the_topic_is_walked),
        TEST(test_frames_have_the_three_lengths_of_rfc_6455),
        TEST(test_output_is_announced_once_until_it_is_flushed),
        TEST(test_a_queue_takes_exactly_its_limit_and_one_byte_more_closes_with_1008),
        TEST(test_what_the_socket_has_does_not_count),
        TEST(test_a_frame_that_was_begun_stays_when_the_queue_is_full),
        TEST(test_the_first_close_stands),
        TEST(test_what_is_sent_while_the_handshake_is_held_goes_behind_the_greeting),
        TEST(test_deliveries_reach_whom_they_name),
        TEST(test_a_close_that_may_not_be_sent_becomes_1000),
        TEST(test_a_close_carries_code_and_reason),
        TEST(test_seq_is_only_for_those_that_asked),
        TEST(test_a_ping_is_a_frame_of_its_own),
        TEST(test_the_user_is_the_one_whose_topic_it_is_in),
        TEST(test_frames_are_read_as_they_were_written),
        TEST(test_a_virtual_connection_collects_what_it_gets),
        TEST(test_a_virtual_connection_is_closed_like_any_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_messages.c - the shape of each typed message.
 */
#include "messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

struct fixture {
    struct buf out;
    int64_t began_ms;
};

static void begin(struct fixture *fixture)
{
    buf_init(&fixture->out, 4096);
    fixture->began_ms = clock_unix_ms();
}

/* The text is head, the time and the closing bracket, and the time is now. */
static void assert_written(struct fixture *fixture, const char *head)
{
    const char *text = buf_str(&fixture->out);
    struct json *json = NULL;
    int64_t timestamp = 0;
    char tail[64];

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), OK);
    assert_int_equal(json_get_int(json, "timestamp", &timestamp, NULL), OK);
    json_free(json);
    assert_in_range(timestamp, fixture->began_ms, clock_unix_ms());
    snprintf(tail, sizeof(tail), ",\"timestamp\":%" PRId64 "}", timestamp);
    assert_int_equal(strlen(text), strlen(head) + strlen(tail));
    assert_memory_equal(text, head, strlen(head));
    assert_string_equal(text + strlen(head), tail);
    buf_done(&fixture->out);
}

static void test_chat_response_with_and_without_chunks(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    message_write_chat_response(&fixture.out, "m1", "Hello", true, NULL);
    assert_written(&fixture, "{\"type\":\"chat_response\",\"payload\":{\"messageId\":\"m1\","
                             "\"content\":\"Hello\",\"isComplete\":true}");
    begin(&fixture);
    message_write_chat_response(&fixture.out, "m2", "Hel", false,
                                "[{\"documentName\":\"a.pdf\",\"pageNumber\":3,\"text\":\"...\"}]");
    assert_written(&fixture, "{\"type\":\"chat_response\",\"payload\":{\"messageId\":\"m2\","
                             "\"content\":\"Hel\",\"isComplete\":false,\"retrievedChunks\":"
                             "[{\"documentName\":\"a.pdf\",\"pageNumber\":3,\"text\":\"...\"}]}");
}

static void test_typing_indicator_on_and_off(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    message_write_typing_indicator(&fixture.out, true);
    assert_written(&fixture, "{\"type\":\"typing_indicator\",\"payload\":{\"isTyping\":true}");
    begin(&fixture);
    message_write_typing_indicator(&fixture.out, false);
    assert_written(&fixture, "{\"type\":\"typing_indicator\",\"payload\":{\"isTyping\":false}");
}

static void test_error_has_retry_after_only_where_it_applies(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    message_write_error(&fixture.out, "INVALID_ACTION", "No", false, MESSAGE_NO_RETRY_AFTER);
    assert_written(&fixture, "{\"type\":\"error\",\"payload\":{\"code\":\"INVALID_ACTION\","
                             "\"message\":\"No\",\"retryable\":false}");
    begin(&fixture);
    message_write_error(&fixture.out, "RATE_LIMIT_EXCEEDED", "Slow down", true, 0);
    assert_written(&fixture, "{\"type\":\"error\",\"payload\":{\"code\":\"RATE_LIMIT_EXCEEDED\","
                             "\"message\":\"Slow down\",\"retryable\":true,\"retryAfter\":0}");
}

static void test_system_has_each_level(void **state)
{
    static const char *const names[] = {"info", "warning", "error"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        enum message_level level = MESSAGE_INFO;
        struct fixture fixture;
        char head[128];

        assert_true(message_parse_level(names[i], &level));
        snprintf(head, sizeof(head),
                 "{\"type\":\"system\",\"payload\":{\"message\":\"Hi\",\"level\":\"%s\"}",
                 names[i]);
        begin(&fixture);
        message_write_system(&fixture.out, "Hi", level);
        assert_written(&fixture, head);
    }
}

static void test_what_is_no_level_leaves_it_alone(void **state)
{
    static const char *const names[] = {"", "fatal", "Info", "info ", "warn"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        enum message_level level = MESSAGE_WARNING;

        assert_false(message_parse_level(names[i], &level));
        assert_int_equal(level, MESSAGE_WARNING);
    }
}

static void test_texts_are_escaped(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    message_write_error(&fixture.out, "A\"B", "line\nback\\slash \xFF", true,
                        MESSAGE_NO_RETRY_AFTER);
    assert_written(&fixture, "{\"type\":\"error\",\"payload\":{\"code\":\"A\\\"B\","
                             "\"message\":\"line\\nback\\\\slash \xEF\xBF\xBD\","
                             "\"retryable\":true}");
}

static void test_a_message_past_the_limit_makes_the_buffer_full(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 32);
    message_write_system(&out, "longer than thirty-two bytes", MESSAGE_INFO);
    assert_true(buf_full(&out));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_response_with_and_without_chunks),
        cmocka_unit_test(test_typing_indicator_on_and_off),
        cmocka_unit_test(test_error_has_retry_after_only_where_it_applies),
        cmocka_unit_test(test_system_has_each_level),
        cmocka_unit_test(test_what_is_no_level_leaves_it_alone),
        cmocka_unit_test(test_texts_are_escaped),
        cmocka_unit_test(test_a_message_past_the_limit_makes_the_buffer_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

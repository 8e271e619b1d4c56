/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_log.c - log lines, as they arrive on standard error.
 */
#include "log.h"

#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Standard error goes to a pipe between these two. */
static int saved_stderr;
static int pipe_out;

static void capture_begin(void)
{
    int pipes[2];

    assert_int_equal(pipe(pipes), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
    pipe_out = pipes[0];
}

static void capture_end(char *out, size_t size)
{
    size_t len = 0;
    ssize_t n;

    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    while (len < size - 1 && (n = read(pipe_out, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    close(pipe_out);
}

/* What follows the time stamp, which is checked for its form. */
static const char *behind_time(const char *line, const char *prefix)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";

    assert_memory_equal(line, prefix, strlen(prefix));
    line += strlen(prefix);
    for (const char *f = form; *f; f++, line++) {
        if (*f == 'd')
            assert_in_range(*line, '0', '9');
        else
            assert_int_equal(*line, *f);
    }
    return line;
}

static void test_a_line_is_logfmt_with_time_level_and_event(void **state)
{
    char line[1000];

    (void)state;
    log_setup(LOG_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("connection.open", "connection=c-%u stage=%s", 17U, "dev");
    capture_end(line, sizeof(line));
    assert_string_equal(behind_time(line, "ts="),
                        " level=info event=connection.open connection=c-17 stage=dev\n");
}

static void test_lines_below_the_level_are_not_written(void **state)
{
    char line[1000];

    (void)state;
    log_setup(LOG_WARN, LOG_LOGFMT);
    assert_false(log_enabled(LOG_INFO));
    assert_true(log_enabled(LOG_ERROR));
    capture_begin();
    log_debug("no", "a=%d", 1);
    log_info("no", "a=%d", 1);
    log_warn("yes", "a=%d", 1);
    log_error("yes", "a=%d", 2);
    capture_end(line, sizeof(line));
    assert_null(strstr(line, "event=no"));
    assert_non_null(strstr(line, "level=warn event=yes a=1\n"));
    assert_non_null(strstr(line, "level=error event=yes a=2\n"));
}

static void test_a_value_cannot_break_the_line(void **state)
{
    char line[1000];

    (void)state;
    log_setup(LOG_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("e", "agent=%s raw=%s", log_quote("evil\nts=1 \"x\\\x1b"), "a\r\nb\xff");
    capture_end(line, sizeof(line));
    assert_string_equal(
        behind_time(line, "ts="),
        " level=info event=e agent=\"evil\\nts=1 \\\"x\\\\\\u001b\" raw=a\\r\\nb?\n");
}

static void test_values_are_quoted_only_when_they_need_it(void **state)
{
    static const struct {
        const char *value;
        const char *quoted;
    } cases[] = {
        {"plain", "plain"},
        {"a-b_c/d:1", "a-b_c/d:1"},
        {"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F"},
        {"", "\"\""},
        {NULL, "-"},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"hi\"", "\"say \\\"hi\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"tab\tdel\x7f", "\"tab\\tdel\\u007f\""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(log_quote(cases[i].value), cases[i].quoted);
}

static void test_a_long_value_is_cut_between_characters(void **state)
{
    char value[400];
    const char *quoted;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    quoted = log_quote(value);
    assert_int_equal(strlen(quoted), 205);
    assert_string_equal(quoted + 199, "vv...\"");
    memcpy(value + 199, "\xE2\x82\xAC", 3); /* its second byte is the 201st */
    quoted = log_quote(value);
    assert_int_equal(strlen(quoted), 204);
    assert_string_equal(quoted + 199, "v...\"");
    value[200] = '\0';
    memset(value, 'v', 200);
    assert_string_equal(log_quote(value), value);
}

static void test_eight_quoted_values_fit_into_one_call(void **state)
{
    char text[100];

    (void)state;
    snprintf(text, sizeof(text), "%s%s%s%s%s%s%s%s", log_quote("1"), log_quote("2"), log_quote("3"),
             log_quote("4"), log_quote("5"), log_quote("6"), log_quote("7"), log_quote("8"));
    assert_string_equal(text, "12345678");
}

static const char *member(const struct json *json, const char *key)
{
    const struct json *value = json_get(json, key);

    assert_non_null(value);
    assert_non_null(json_text(value));
    return json_text(value);
}

static void test_the_json_form_has_the_same_pairs(void **state)
{
    char line[2000];
    struct json *json;
    int64_t n = 0;

    (void)state;
    log_setup(LOG_INFO, LOG_JSON);
    capture_begin();
    log_warn("db.lost", "connection=c-3 count=%d zero=007 empty= agent=%s bad=a\"b\\c text=\"open",
             42, log_quote("a \"b\" \\ c\nd=e"));
    capture_end(line, sizeof(line));
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_int_equal(json_parse(line, strlen(line), &json, NULL), OK);
    behind_time(member(json, "ts"), "");
    assert_string_equal(member(json, "level"), "warn");
    assert_string_equal(member(json, "event"), "db.lost");
    assert_string_equal(member(json, "connection"), "c-3");
    assert_int_equal(json_get_int(json, "count", &n, NULL), OK);
    assert_int_equal(n, 42);
    assert_string_equal(member(json, "zero"), "007");
    assert_string_equal(member(json, "empty"), "");
    assert_string_equal(member(json, "agent"), "a \"b\" \\ c\nd=e");
    assert_string_equal(member(json, "bad"), "a\"b\\c");
    assert_string_equal(member(json, "text"), "open");
    json_free(json);
}

/* Lambda filters by "level" when it can read "timestamp"; the id is the one it gave. */
static void expect_lambda_line(enum log_level level, const char *name, const char *request_id)
{
    char line[2000];
    struct json *json;

    capture_begin();
    log_line(level, "route.done", "ms=%d agent=%s", 12, log_quote("a \"b\""));
    capture_end(line, sizeof(line));
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_int_equal(json_parse(line, strlen(line), &json, NULL), OK);
    behind_time(member(json, "timestamp"), "");
    assert_string_equal(member(json, "level"), name);
    assert_string_equal(member(json, "event"), "route.done");
    assert_string_equal(member(json, "agent"), "a \"b\"");
    assert_int_equal(json_number(json_get(json, "ms")), 12);
    if (request_id)
        assert_string_equal(member(json, "requestId"), request_id);
    else
        assert_null(json_get(json, "requestId"));
    json_free(json);
}

static void test_the_form_of_lambda(void **state)
{
    char long_id[300];

    (void)state;
    memset(long_id, 'x', sizeof(long_id));
    long_id[sizeof(long_id) - 1] = '\0';
    log_setup(LOG_DEBUG, LOG_LAMBDA);
    expect_lambda_line(LOG_DEBUG, "DEBUG", NULL);
    log_set_request_id("8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    expect_lambda_line(LOG_INFO, "INFO", "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    expect_lambda_line(LOG_WARN, "WARN", "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    log_set_request_id("a\"b"); /* it is no id of Lambda's, and would end the text */
    expect_lambda_line(LOG_ERROR, "ERROR", NULL);
    log_set_request_id("\xff\n");
    expect_lambda_line(LOG_ERROR, "ERROR", NULL);
    log_set_request_id(long_id);
    long_id[63] = '\0';
    expect_lambda_line(LOG_ERROR, "ERROR", long_id);
    log_set_request_id(NULL);
    expect_lambda_line(LOG_ERROR, "ERROR", NULL);
}

static void test_the_other_forms_do_not_have_the_request_id(void **state)
{
    char line[1000];

    (void)state;
    log_set_request_id("r1");
    for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        log_setup(LOG_INFO, (enum log_format)format);
        capture_begin();
        log_info("x", "a=%d", 1);
        capture_end(line, sizeof(line));
        assert_null(strstr(line, "r1"));
    }
    log_set_request_id(NULL);
}

static void test_words_that_are_no_pair_become_a_text(void **state)
{
    char line[2000];
    struct json *json;

    (void)state;
    log_setup(LOG_INFO, LOG_JSON);
    capture_begin();
    log_info("start", "port=8080 bad\\u12 and \xff so on");
    capture_end(line, sizeof(line));
    assert_int_equal(json_parse(line, strlen(line), &json, NULL), OK);
    assert_string_equal(member(json, "text"), "bad\\u12 and ? so on");
    json_free(json);
}

static void test_a_line_that_is_too_long_is_cut_and_stays_one_line(void **state)
{
    static char value[6000];
    static char line[40000];
    struct json *json;

    (void)state;
    memset(value, 1, sizeof(value) - 1);
    for (enum log_format format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        log_setup(LOG_INFO, format);
        capture_begin();
        log_info("long", "value=\"%s\"", value);
        capture_end(line, sizeof(line));
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        assert_true(strlen(line) > 4000);
    }
    assert_int_equal(json_parse(line, strlen(line), &json, NULL), OK);
    json_free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_logfmt_with_time_level_and_event),
        cmocka_unit_test(test_lines_below_the_level_are_not_written),
        cmocka_unit_test(test_a_value_cannot_break_the_line),
        cmocka_unit_test(test_values_are_quoted_only_when_they_need_it),
        cmocka_unit_test(test_a_long_value_is_cut_between_characters),
        cmocka_unit_test(test_eight_quoted_values_fit_into_one_call),
        cmocka_unit_test(test_the_json_form_has_the_same_pairs),
        cmocka_unit_test(test_the_form_of_lambda),
        cmocka_unit_test(test_the_other_forms_do_not_have_the_request_id),
        cmocka_unit_test(test_words_that_are_no_pair_become_a_text),
        cmocka_unit_test(test_a_line_that_is_too_long_is_cut_and_stays_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

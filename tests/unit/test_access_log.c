/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_access_log.c - formats, escaping, and files that fill up or move away.
 */
#include "access_log.h"
#include "json.h"
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct loop *loop;
    char folder[64];
    char file[128];
    char moved[128];
};

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    snprintf(f->folder, sizeof(f->folder), "/tmp/access-log-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->file, sizeof(f->file), "%s/log", f->folder);
    snprintf(f->moved, sizeof(f->moved), "%s/log.1", f->folder);
    f->loop = loop_create();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    loop_free(f->loop);
    unlink(f->file);
    unlink(f->moved);
    rmdir(f->folder);
    free(f);
    return 0;
}

static char *read_file(const char *file)
{
    FILE *in = fopen(file, "re");
    struct buf text;

    assert_non_null(in);
    buf_init(&text, 16 * 1024 * 1024);
    for (int c = getc(in); c != EOF; c = getc(in))
        buf_addc(&text, (char)c);
    fclose(in);
    return buf_take(&text);
}

static struct access_log *open_log(struct fixture *f, const char *format)
{
    struct access_log *log = NULL;
    struct error err = {0};

    if (access_log_create(f->loop, format, f->file, &log, &err))
        fail_msg("%s", err.text);
    return log;
}

/* The line that the format makes of the context. */
static char *line_of(struct fixture *f, const char *format, const struct request_context *context)
{
    struct access_log *log = open_log(f, format);
    char *line;

    access_log_write(log, context);
    access_log_free(log);
    line = read_file(f->file);
    unlink(f->file);
    return line;
}

static void assert_line(struct fixture *f, const char *format,
                        const struct request_context *context, const char *expected)
{
    char *line = line_of(f, format, context);

    assert_string_equal(line, expected);
    free(line);
}

static struct request_context example(void)
{
    struct request_context context;

    request_context_init(&context);
    context.api_id = "local";
    context.stage = "dev";
    context.route_key = "sendmessage";
    context.event_type = "MESSAGE";
    context.connection_id = "gbgEXa8pzQAYKEi_gA==";
    context.message_id = "gbgEYu8yQQAYKEi_gA==";
    context.request_id = "EOpkcGiZIAMEmQw=";
    context.source_ip = "203.0.113.7";
    context.user_agent = "my-client";
    context.authorizer = "{\"principalId\":\"u1\",\"tenant-id\":\"t1\",\"n\":\"7\"}";
    context.connected_at_ms = 1790295166108;
    context.request_time_ms = 1790295170355;
    context.status = 200;
    context.integration_latency_ms = 12;
    return context;
}

static void test_common_log_format(void **state)
{
    struct request_context context = example();

    assert_line(*state,
                "$context.identity.sourceIp $context.identity.caller [$context.requestTime] "
                "\"$context.eventType $context.routeKey $context.connectionId\" $context.status "
                "$context.requestId",
                &context,
                "203.0.113.7 - [25/Sep/2026:00:12:50 +0000] "
                "\"MESSAGE sendmessage gbgEXa8pzQAYKEi_gA==\" 200 EOpkcGiZIAMEmQw=\n");
}

static void test_json_format(void **state)
{
    struct request_context context = example();

    assert_line(
        *state,
        " {\"requestId\":\"$context.requestId\", \"status\":$context.status,"
        "\"error\":\"$context.error.message\",\"tenant\":\"$context.authorizer.tenant-id\"}\n",
        &context,
        "{\"requestId\":\"EOpkcGiZIAMEmQw=\", \"status\":200,"
        "\"error\":\"-\",\"tenant\":\"t1\"}\n");
}

static void test_message_string_has_quotes_of_its_own(void **state)
{
    struct request_context context = example();

    assert_line(*state, "{\"error\":\"$context.error.messageString\"}", &context,
                "{\"error\":\"-\"}\n");
    context.error_message = "say \"no\"";
    assert_line(*state, "{\"error\":$context.error.messageString}", &context,
                "{\"error\":\"say \\\"no\\\"\"}\n");
}

static void test_what_is_unset_or_unknown_prints_a_hyphen(void **state)
{
    struct request_context context;

    request_context_init(&context);
    assert_line(*state,
                "$context.status $context.integrationLatency $context.error.message "
                "$context.integration.latency $context.noSuchThing $context.authorizer.x",
                &context, "- - - - - -\n");
}

static void test_where_names_end(void **state)
{
    struct request_context context = example();

    assert_line(*state,
                "$context.stage.$context.apiId-$context.stage, ($context.routeKey). "
                "$context.authorizer.n- $context.stage_x",
                &context, "dev.local-dev, (sendmessage). 7- -\n");
}

static void test_wrong_formats_are_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        " \n",
                                        "$",
                                        "$context",
                                        "$context.",
                                        "$context. ",
                                        "$context..a",
                                        "${context.stage}",
                                        "$request.body",
                                        "a $context.stage\nb",
                                        "costs $5",
                                        "$context.-a",
                                        "$Context.stage"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct access_log *log = NULL;
        struct error err = {0};

        if (access_log_create(f->loop, wrong[i], f->file, &log, &err) != INVALID)
            fail_msg("\"%s\" is not refused", wrong[i]);
        assert_null(log);
        assert_non_null(strstr(err.text, "access log format: "));
    }
    assert_int_equal(access(f->file, F_OK), -1); /* nothing was opened */
}

static void test_format_may_have_3072_bytes(void **state)
{
    struct fixture *f = *state;
    struct access_log *log = NULL;
    struct error err = {0};
    char format[3074];

    memset(format, 'x', sizeof(format));
    format[3073] = '\0';
    assert_int_equal(access_log_create(f->loop, format, f->file, &log, &err), INVALID);
    format[3072] = '\0';
    assert_int_equal(access_log_create(f->loop, format, f->file, &log, &err), OK);
    access_log_free(log);
}

static void test_file_that_cannot_be_opened(void **state)
{
    struct fixture *f = *state;
    struct access_log *log = NULL;
    struct error err = {0};

    assert_int_equal(access_log_create(f->loop, "x", "/no/such/folder/log", &log, &err),
                     UNAVAILABLE);
    assert_non_null(strstr(err.text, "/no/such/folder/log"));
}

static void test_client_cannot_end_a_quoted_value_or_the_line(void **state)
{
    struct request_context context = example();

    context.user_agent = "a\"b\\c\r\nd\te\x1b[0m\x7f\xff\xc2\x9b" /* CSI in UTF-8 */
                         "\xc3\xa4";
    assert_line(*state, "\"$context.identity.userAgent\"", &context,
                "\"a\\x22b\\x5Cc\\x0D\\x0Ad\\x09e\\x1B[0m\\x7F\\xFF\\xC2\\x9B\xc3\xa4\"\n");
    assert_line(*state, "<a b=\"$context.identity.userAgent\"/>", &context,
                "<a b=\"a&#34;b\\c  d e [0m \xEF\xBF\xBD \xc3\xa4\"/>\n");
    context.user_agent = "</a>&'";
    assert_line(*state, "<a>$context.identity.userAgent</a>", &context,
                "<a>&#60;/a&#62;&#38;&#39;</a>\n");
}

static void test_json_lines_read_back_as_what_the_client_sent(void **state)
{
    struct request_context context = example();
    struct json *line = NULL;
    char *text;

    context.user_agent = "a\"b\\c\r\nd\te\x1b[0m\xc3\xa4";
    text = line_of(*state, "{\"ua\":\"$context.identity.userAgent\"}", &context);
    assert_int_equal(json_parse(text, strlen(text), &line, NULL), OK);
    assert_string_equal(json_text(json_get(line, "ua")), context.user_agent);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_free(line);
    free(text);
}

static void test_long_values_are_cut_between_characters(void **state)
{
    struct request_context context = example();
    char agent[2001];
    char *line;

    for (size_t i = 0; i < 2000; i++)
        agent[i] = i % 2 ? '\xa4' : '\xc3';
    agent[2000] = '\0';
    context.user_agent = agent + 1; /* odd: the 1,024th byte begins a character */
    line = line_of(*state, "$context.identity.userAgent", &context);
    assert_memory_equal(line, "\\xA4\xc3\xa4", 6);
    assert_int_equal(strlen(line), 4 + 1022 + 1);
    free(line);
    context.user_agent = agent;
    line = line_of(*state, "$context.identity.userAgent", &context);
    assert_int_equal(strlen(line), 1024 + 1);
    free(line);
}

static void stop(void *ctx)
{
    loop_stop(ctx);
}

/* Runs turns until the file has as many bytes, for 5 s at most. */
static void run_until_size(struct fixture *f, const char *file, long size)
{
    struct stat st = {0};
    int64_t began = clock_mono_ms();

    while ((stat(file, &st) || st.st_size != size) && clock_mono_ms() - began < 5000) {
        struct timer *timer = loop_timer(f->loop, 5, 0, stop, f->loop);

        loop_run(f->loop);
        loop_timer_stop(timer);
    }
    assert_int_equal(st.st_size, size);
}

static void test_lines_are_written_at_the_end_of_the_turn(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = open_log(f, "$context.stage");
    char *text;

    for (int i = 0; i < 3; i++)
        access_log_write(log, &context);
    text = read_file(f->file);
    assert_string_equal(text, "");
    free(text);
    run_until_size(f, f->file, 12);
    text = read_file(f->file);
    assert_string_equal(text, "dev\ndev\ndev\n");
    free(text);
    access_log_free(log);
}

static void test_lines_are_appended_to_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    char *text;

    for (int i = 0; i < 2; i++) {
        struct access_log *log = open_log(f, "$context.stage");

        access_log_write(log, &context);
        access_log_free(log);
    }
    text = read_file(f->file);
    assert_string_equal(text, "dev\ndev\n");
    free(text);
}

static void test_reopen_goes_on_in_a_new_file(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = open_log(f, "$context.stage");
    char *text;

    access_log_write(log, &context); /* belongs to the old file, though not written yet */
    assert_int_equal(rename(f->file, f->moved), 0);
    access_log_reopen(log);
    context.stage = "new";
    access_log_write(log, &context);
    access_log_free(log);
    text = read_file(f->moved);
    assert_string_equal(text, "dev\n");
    free(text);
    text = read_file(f->file);
    assert_string_equal(text, "new\n");
    free(text);
}

static void test_reopen_that_fails_keeps_the_old_file(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = open_log(f, "$context.stage");
    char *text;

    assert_int_equal(rename(f->file, f->moved), 0);
    assert_int_equal(mkdir(f->file, 0700), 0); /* cannot be written to */
    access_log_reopen(log);
    access_log_write(log, &context);
    access_log_free(log);
    text = read_file(f->moved);
    assert_string_equal(text, "dev\n");
    free(text);
    rmdir(f->file);
}

/* Like a full disk: a write is cut, and then fails.  RLIMIT_FSIZE does that to any file. */
static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_full_disk_loses_nothing_once_there_is_room_again(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = open_log(f, "$context.stage");
    struct rlimit before;
    char *text;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit_file_size(6);
    for (int i = 0; i < 3; i++)
        access_log_write(log, &context);
    run_until_size(f, f->file, 6);
    limit_file_size(before.rlim_cur);
    context.stage = "late";
    access_log_write(log, &context);
    run_until_size(f, f->file, 17);
    text = read_file(f->file);
    assert_string_equal(text, "dev\ndev\ndev\nlate\n");
    free(text);
    access_log_free(log);
}

static void test_reopen_does_not_begin_with_the_rest_of_a_cut_line(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = open_log(f, "$context.stage");
    struct rlimit before;
    char *text;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit_file_size(6);
    for (int i = 0; i < 3; i++)
        access_log_write(log, &context);
    run_until_size(f, f->file, 6);
    assert_int_equal(rename(f->file, f->moved), 0);
    access_log_reopen(log); /* what is left of the second line cannot go to the old file */
    limit_file_size(before.rlim_cur);
    run_until_size(f, f->file, 4);
    text = read_file(f->file);
    assert_string_equal(text, "dev\n");
    free(text);
    access_log_free(log);
}

static size_t drain(int fd)
{
    char bytes[65536];
    size_t total = 0;
    ssize_t n;

    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        total += (size_t)n;
    return total;
}

static void test_pipe_that_nobody_reads_does_not_stop_the_loop(void **state)
{
    enum { LINES = 20000, LINE_BYTES = 4 };
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log;
    size_t seen = 0;
    int64_t began = clock_mono_ms();
    int reader;

    assert_int_equal(mkfifo(f->file, 0600), 0);
    reader = open(f->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    log = open_log(f, "$context.stage");
    for (int i = 0; i < LINES; i++)
        access_log_write(log, &context);
    while (seen < LINES * LINE_BYTES && clock_mono_ms() - began < 5000) {
        struct timer *timer = loop_timer(f->loop, 5, 0, stop, f->loop);

        loop_run(f->loop);
        loop_timer_stop(timer);
        seen += drain(reader);
    }
    assert_int_equal(seen, LINES * LINE_BYTES);
    access_log_free(log);
    close(reader);
}

static void test_lines_past_the_limit_are_lost_whole(void **state)
{
    enum { LINES = 1200000 }; /* 4 bytes each; 4 MiB is the limit */
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = open_log(f, "$context.stage");

    for (int i = 0; i < LINES; i++)
        access_log_write(log, &context);
    run_until_size(f, f->file, 4 * 1024 * 1024);
    access_log_write(log, &context);
    run_until_size(f, f->file, 4 * 1024 * 1024 + 4);
    access_log_free(log);
}

static void test_hyphen_is_standard_output(void **state)
{
    struct fixture *f = *state;
    struct request_context context = example();
    struct access_log *log = NULL;
    struct error err = {0};
    char text[16] = "";
    int pipes[2];
    int saved = dup(STDOUT_FILENO);

    fflush(stdout);
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDOUT_FILENO);
    assert_int_equal(access_log_create(f->loop, "$context.stage", "-", &log, &err), OK);
    access_log_write(log, &context);
    access_log_reopen(log); /* nothing to do */
    access_log_free(log);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(pipes[1]);
    assert_int_equal(read(pipes[0], text, sizeof(text) - 1), 4);
    assert_string_equal(text, "dev\n");
    close(pipes[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_common_log_format),
        TEST(test_json_format),
        TEST(test_message_string_has_quotes_of_its_own),
        TEST(test_what_is_unset_or_unknown_prints_a_hyphen),
        TEST(test_where_names_end),
        TEST(test_wrong_formats_are_refused),
        TEST(test_format_may_have_3072_bytes),
        TEST(test_file_that_cannot_be_opened),
        TEST(test_client_cannot_end_a_quoted_value_or_the_line),
        TEST(test_json_lines_read_back_as_what_the_client_sent),
        TEST(test_long_values_are_cut_between_characters),
        TEST(test_lines_are_written_at_the_end_of_the_turn),
        TEST(test_lines_are_appended_to_what_is_there),
        TEST(test_reopen_goes_on_in_a_new_file),
        TEST(test_reopen_that_fails_keeps_the_old_file),
        TEST(test_full_disk_loses_nothing_once_there_is_room_again),
        TEST(test_reopen_does_not_begin_with_the_rest_of_a_cut_line),
        TEST(test_pipe_that_nobody_reads_does_not_stop_the_loop),
        TEST(test_lines_past_the_limit_are_lost_whole),
        TEST(test_hyphen_is_standard_output),
    };

    signal(SIGXFSZ, SIG_IGN); /* the limit on files is to fail the write, not the test */
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of connections on the loop, against a server of our own in a thread.  Names are looked
 * up by a getaddrinfo of ours, which can be made to wait.
 */
#include "buf.h"
#include "http_client.h"
#include "loop.h"

#include "http_server.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    GIVE_UP_MS = 20000,
    CALL_MS = 10000,
    SHORT_MS = 60,
    PARALLEL = 200,
    URL_BYTES = 256,
    PAIRS = 100, /* more than there are descriptors of a test */
    MOST_BEGUN = 16
};

/* ---- names ---- */

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t names_changed = PTHREAD_COND_INITIALIZER;
static int names_waiting; /* look-ups of slow.test */
static bool names_may_go_on;

static void wait_for_names(void)
{
    pthread_mutex_lock(&names_lock);
    names_waiting++;
    pthread_cond_broadcast(&names_changed);
    while (!names_may_go_on)
        pthread_cond_wait(&names_changed, &names_lock);
    names_waiting--;
    pthread_cond_broadcast(&names_changed);
    pthread_mutex_unlock(&names_lock);
}

/* In front of libc's for libcurl too. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict req, struct addrinfo **restrict pai)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

    if (name && strcmp(name, "slow.test") == 0)
        wait_for_names();
    if (name && strstr(name, ".test"))
        return EAI_NONAME;
    memcpy(&next, &symbol, sizeof(next));
    return next(name, service, req, pai);
}

/* ---- calls ---- */

struct fixture {
    struct loop *loop;
    struct http_pool *pool;
    struct server *server;
    int open; /* the loop stops when there are no more */
    struct timer *timer;
    struct http_call *victim;
};

struct reply {
    struct fixture *f;
    char *body;
    size_t body_len;
    int count;
    enum http_outcome outcome;
    int status;
    bool is_in_start;
    char header[64]; /* X-Test */
    char error[256];
};

static void on_done(void *ctx, const struct http_pool_answer *answer)
{
    struct reply *reply = ctx;
    const char *header = http_answer_header(answer, "x-tESt");

    assert_false(reply->is_in_start);
    reply->count++;
    reply->outcome = answer->outcome;
    reply->status = answer->status;
    free(reply->body);
    reply->body = answer->body ? mem_strndup(answer->body, answer->body_len) : NULL;
    reply->body_len = answer->body_len;
    snprintf(reply->error, sizeof(reply->error), "%s", answer->error);
    snprintf(reply->header, sizeof(reply->header), "%s", header ? header : "(none)");
    if (--reply->f->open == 0)
        loop_stop(reply->f->loop);
}

static void on_give_up(void *ctx)
{
    (void)ctx;
    fail_msg("nothing has come within %d ms", GIVE_UP_MS);
}

/* Until as many answers have come as there were starts. */
static void run(struct fixture *f)
{
    struct timer *give_up = loop_timer(f->loop, GIVE_UP_MS, 0, on_give_up, NULL);

    loop_run(f->loop);
    loop_timer_stop(give_up);
}

static struct http_call *start(struct fixture *f, const struct http_pool_request *request,
                               struct reply *reply)
{
    struct http_call *call;

    reply->f = f;
    f->open++;
    reply->is_in_start = true;
    call = http_pool_start(f->pool, request, on_done, reply);
    reply->is_in_start = false;
    return call;
}

/* body NULL: GET, else POST. */
static struct http_call *start_path(struct fixture *f, const char *path, const char *body,
                                    struct reply *reply)
{
    char url[URL_BYTES];
    struct http_pool_request request = {.method = body ? "POST" : "GET",
                                        .url = url,
                                        .body = body,
                                        .body_len = body ? strlen(body) : 0,
                                        .timeout_ms = CALL_MS,
                                        .max_answer_bytes = 1024 * 1024};

    if (strstr(path, "://"))
        snprintf(url, sizeof(url), "%s", path);
    else
        snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", f->server->port, path);
    return start(f, &request, reply);
}

static void drop(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

static void expect_path(struct fixture *f, const char *path, const char *body,
                        enum http_outcome outcome)
{
    struct reply reply = {0};

    start_path(f, path, body, &reply);
    run(f);
    assert_int_equal(reply.count, 1);
    if (reply.outcome != outcome)
        fail_msg("%s: outcome %d instead of %d: %s", path, (int)reply.outcome, (int)outcome,
                 reply.error);
    assert_int_equal(reply.error[0] == '\0', outcome == HTTP_ANSWERED);
    if (outcome != HTTP_ANSWERED) {
        assert_int_equal(reply.status, 0);
        assert_null(reply.body);
        assert_string_equal(reply.header, "(none)");
    }
    drop(&reply);
}

static void expect_time_out(struct fixture *f, const char *path)
{
    struct reply reply = {0};
    char url[URL_BYTES];
    struct http_pool_request request = {.method = "POST",
                                        .url = url,
                                        .body = "x",
                                        .body_len = 1,
                                        .timeout_ms = SHORT_MS,
                                        .max_answer_bytes = 100};
    int64_t began_ms = clock_mono_ms();

    if (strstr(path, "://"))
        snprintf(url, sizeof(url), "%s", path);
    else
        snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", f->server->port, path);
    start(f, &request, &reply);
    run(f);
    assert_int_equal(reply.outcome, HTTP_TIMED_OUT);
    assert_int_not_equal(reply.error[0], '\0');
    assert_true(clock_mono_ms() - began_ms >= SHORT_MS - 1);
}

/* Runs the loop until the counter has that value. */
struct expectation {
    struct fixture *f;
    atomic_int *counter;
    int value;
};

static void look(void *ctx)
{
    struct expectation *expectation = ctx;

    if (atomic_load(expectation->counter) == expectation->value)
        loop_stop(expectation->f->loop);
}

static void run_until(struct fixture *f, atomic_int *counter, int value)
{
    struct expectation expectation = {f, counter, value};
    struct timer *timer = loop_timer(f->loop, 1, 1, look, &expectation);

    run(f);
    loop_timer_stop(timer);
    assert_int_equal(atomic_load(counter), value);
}

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    f->loop = loop_create();
    f->pool = http_pool_create(f->loop);
    f->server = server_start();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    http_pool_free(f->pool);
    loop_free(f->loop);
    server_stop(f->server);
    free(f);
    return 0;
}

/* ---- what is sent ---- */

static void test_request_is_sent_as_it_is(void **state)
{
    static const struct http_pool_header headers[] = {
        {"X-One", "1"},          {"X-Empty", ""},
        {"X-Blank", " \t"},      {"x-one", "2"},
        {"Connection", "close"}, {"content-length", "999"},
        {"Upgrade", "h2c"},      {"Transfer-Encoding", "chunked"},
    };
    struct fixture *f = *state;
    struct reply reply = {0};
    char url[URL_BYTES];
    char expected[URL_BYTES];
    struct http_pool_request request = {.method = "PATCH",
                                        .url = url,
                                        .headers = headers,
                                        .header_count = ARRAY_LEN(headers),
                                        .body = "a\0b",
                                        .body_len = 3,
                                        .timeout_ms = CALL_MS,
                                        .max_answer_bytes = 4096};

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/a/../b/./%%2e%%2F;x?q=%%C3%%a4&&r[]=/../",
             f->server->port);
    start(f, &request, &reply);
    run(f);
    snprintf(expected, sizeof(expected),
             "PATCH /a/../b/./%%2e%%2F;x?q=%%C3%%a4&&r[]=/../ HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
             "X-One: 1\r\nX-Empty:\r\nX-Blank:\r\nx-one: 2\r\nContent-Length: 3\r\n\r\na",
             f->server->port);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body_len, strlen(expected) + 2);
    assert_string_equal(reply.body, expected);
    assert_memory_equal(reply.body + strlen(expected), "\0b", 2);
    drop(&reply);
}

static void expect_echo(struct fixture *f, const struct http_pool_request *request,
                        const char *expected)
{
    struct reply reply = {0};

    start(f, request, &reply);
    run(f);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_string_equal(reply.body, expected);
    drop(&reply);
}

/* Also: nothing of a request is left for the next one that gets its handle. */
static void test_body_and_headers_of_the_caller_count(void **state)
{
    static const struct http_pool_header headers[] = {{"Host", "api.example.com"},
                                                      {"Content-Type", "text/plain; a=b"},
                                                      {"accept", "text/html"},
                                                      {"User-Agent", "me"}};
    struct fixture *f = *state;
    char url[URL_BYTES];
    char expected[URL_BYTES];
    struct http_pool_request request = {
        .method = "GET", .url = url, .timeout_ms = CALL_MS, .max_answer_bytes = 4096};

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/echo", f->server->port);
    request.headers = headers;
    request.header_count = ARRAY_LEN(headers);
    request.body = "x";
    request.body_len = 1;
    expect_echo(f, &request,
                "GET /echo HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: text/plain; a=b\r\n"
                "accept: text/html\r\nUser-Agent: me\r\nContent-Length: 1\r\n\r\nx");
    request.header_count = 0;
    request.body = NULL;
    request.method = "POST";
    snprintf(expected, sizeof(expected), "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
             f->server->port);
    expect_echo(f, &request, expected);
    request.body = "";
    request.body_len = 0;
    snprintf(expected, sizeof(expected),
             "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 0\r\n\r\n",
             f->server->port);
    expect_echo(f, &request, expected);
    assert_int_equal(f->server->accepted, 1);
}

static void test_password_of_a_url_is_for_that_request(void **state)
{
    struct fixture *f = *state;
    char url[URL_BYTES], host[64], expected[URL_BYTES];
    struct http_pool_request request = {
        .method = "GET", .url = url, .timeout_ms = CALL_MS, .max_answer_bytes = 4096};

    snprintf(host, sizeof(host), "127.0.0.1:%u", f->server->port);
    for (int i = 0; i < 2; i++) {
        snprintf(url, sizeof(url), "http://user:password@%s/echo", host);
        snprintf(expected, sizeof(expected),
                 "GET /echo HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic "
                 "dXNlcjpwYXNzd29yZA==\r\n\r\n",
                 host);
        expect_echo(f, &request, expected);
        snprintf(url, sizeof(url), "http://%s/echo", host);
        snprintf(expected, sizeof(expected), "GET /echo HTTP/1.1\r\nHost: %s\r\n\r\n", host);
        expect_echo(f, &request, expected);
    }
}

/* Each kind of request behind each other one, with one handle. */
static void test_nothing_of_a_request_is_left_for_the_next(void **state)
{
    static const struct {
        const char *method, *body, *end;
    } kinds[] = {
        {"GET", NULL, ""},    {"POST", "abc", "Content-Length: 3\r\n\r\nabc"}, {"HEAD", NULL, NULL},
        {"DELETE", NULL, ""}, {"PUT", "", "Content-Length: 0\r\n\r\n"},
    };
    struct fixture *f = *state;
    char url[URL_BYTES], host[64], expected[URL_BYTES];
    struct http_pool_request request = {
        .url = url, .timeout_ms = CALL_MS, .max_answer_bytes = 4096};

    snprintf(host, sizeof(host), "127.0.0.1:%u", f->server->port);
    for (size_t i = 0; i < ARRAY_LEN(kinds) * ARRAY_LEN(kinds) * 2; i++) {
        size_t kind = i % 2 ? i / 2 % ARRAY_LEN(kinds) : i / 2 / ARRAY_LEN(kinds);

        request.method = kinds[kind].method;
        request.body = kinds[kind].body;
        request.body_len = request.body ? strlen(request.body) : 0;
        snprintf(url, sizeof(url), "http://%s/%s", host, kinds[kind].end ? "echo" : "head");
        expected[0] = '\0';
        if (kinds[kind].end)
            snprintf(expected, sizeof(expected), "%s /echo HTTP/1.1\r\nHost: %s\r\n%s",
                     request.method, host, *kinds[kind].end ? kinds[kind].end : "\r\n");
        expect_echo(f, &request, expected);
    }
    assert_int_equal(f->server->accepted, 1);
}

static void test_large_body_is_sent_at_once(void **state)
{
    enum { LARGE = 300 * 1024 };
    struct fixture *f = *state;
    struct reply reply = {0};
    char *body = mem_alloc(LARGE + 1);

    memset(body, 'y', LARGE);
    for (int i = 0; i < 2; i++) {
        start_path(f, "/echo", body, &reply);
        run(f);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_null(strstr(reply.body, "Expect"));
        assert_int_equal(strspn(strstr(reply.body, "\r\n\r\n") + 4, "y"), LARGE);
    }
    assert_int_equal(f->server->accepted, 1);
    free(body);
    drop(&reply);
}

/* ---- what is answered ---- */

static void expect_answer(struct fixture *f, const char *path, int status, const char *header,
                          const char *body)
{
    struct reply reply = {0};

    start_path(f, path, NULL, &reply);
    run(f);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.header, header);
    assert_string_equal(reply.body, body);
    drop(&reply);
}

static void test_headers_are_found(void **state)
{
    struct fixture *f = *state;

    expect_answer(f, "/answer?HTTP/1.1+201+x|X-Test:+a|X-TEST:+b|X-Tests:+c|Content-Length:+2||ok",
                  201, "b", "ok");
    expect_answer(f, "/answer?HTTP/1.1+200+x|Content-Length:+0||", 200, "(none)", "");
    expect_answer(f, "/answer?HTTP/1.1+100+x|X-Test:+no||HTTP/1.1+200+x|Content-Length:+0||", 200,
                  "(none)", "");
    expect_answer(f, "/answer?HTTP/1.1+200+x|X-Test:|Content-Length:+0||", 200, "", "");
    assert_int_equal(f->server->accepted, 1);
}

static void test_any_status_is_an_answer(void **state)
{
    struct fixture *f = *state;

    expect_answer(f, "/answer?HTTP/1.1+301+x|Location:+/echo|Content-Length:+0||", 301, "(none)",
                  "");
    expect_answer(f, "/answer?HTTP/1.1+401+x|WWW-Authenticate:+Basic|Content-Length:+0||", 401,
                  "(none)", "");
    expect_answer(f, "/answer?HTTP/1.1+503+x|Transfer-Encoding:+chunked||2|no|1|t|0||", 503,
                  "(none)", "not");
    expect_answer(f, "/answer?HTTP/1.1+204+x||", 204, "(none)", "");
    assert_int_equal(f->server->requests, 4);
    assert_int_equal(f->server->accepted, 1);
}

static void test_head_has_no_body(void **state)
{
    struct fixture *f = *state;
    struct reply reply = {0};
    char url[URL_BYTES];
    struct http_pool_request request = {
        .method = "HEAD", .url = url, .timeout_ms = CALL_MS, .max_answer_bytes = 1};

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/head", f->server->port);
    start(f, &request, &reply);
    run(f);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_int_equal(reply.body_len, 0);
    drop(&reply);
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
    assert_int_equal(f->server->accepted, 1);
}

static void test_answer_has_a_limit(void **state)
{
    struct fixture *f = *state;

    expect_path(f, "/large?1048576", NULL, HTTP_ANSWERED);
    expect_path(f, "/large?1048577", NULL, HTTP_TOO_LARGE);
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
}

static void test_answers_that_are_none(void **state)
{
    struct fixture *f = *state;

    expect_path(f, "/garbage", NULL, HTTP_BROKEN);
    expect_path(f, "/short", NULL, HTTP_BROKEN);
    expect_path(f, "/answer?HTTP/1.1+200+x|Transfer-Encoding:+chunked||zz|", NULL, HTTP_BROKEN);
    expect_time_out(f, "/answer?HTTP/1.1+20");
}

/* ---- connections ---- */

static void test_connection_is_used_again(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 20; i++)
        expect_path(f, "/echo", i % 2 ? "x" : NULL, HTTP_ANSWERED);
    assert_int_equal(f->server->requests, 20);
    assert_int_equal(f->server->accepted, 1);
}

static void meet(struct fixture *f, int count)
{
    struct reply *replies = mem_alloc((size_t)count * sizeof(*replies));
    char path[URL_BYTES];

    snprintf(path, sizeof(path), "/meet?%d", count);
    for (int i = 0; i < count; i++)
        start_path(f, path, "x", &replies[i]);
    run(f);
    for (int i = 0; i < count; i++) {
        assert_int_equal(replies[i].outcome, HTTP_ANSWERED);
        assert_string_equal(replies[i].body, "met");
        drop(&replies[i]);
    }
    free(replies);
}

static void test_calls_run_in_parallel(void **state)
{
    struct fixture *f = *state;

    meet(f, PARALLEL);
    meet(f, PARALLEL);
    assert_int_equal(f->server->requests, 2 * PARALLEL);
    assert_int_equal(f->server->accepted, PARALLEL);
}

static void test_calls_past_the_limit_wait(void **state)
{
    struct fixture *f = *state;
    struct reply hanging = {0};
    struct reply late = {0};
    struct reply replies[6] = {0};
    char url[URL_BYTES];
    struct http_pool_request request = {
        .method = "GET", .url = url, .timeout_ms = SHORT_MS, .max_answer_bytes = 1};
    struct http_call *call;

    http_pool_limit(f->pool, 2);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/hang", f->server->port);
    call = start_path(f, "/hang", NULL, &hanging);
    start_path(f, "/hang", NULL, &hanging);
    run_until(f, &f->server->requests, 2);
    start(f, &request, &late);
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        start_path(f, "/echo", NULL, &replies[i]);
    f->open -= 1 + (int)ARRAY_LEN(replies) + 1;
    run(f);
    assert_int_equal(late.count, 1);
    assert_int_equal(late.outcome, HTTP_TIMED_OUT);
    assert_int_not_equal(late.error[0], '\0');
    assert_int_equal(f->server->requests, 2);
    http_call_cancel(call);
    f->open = (int)ARRAY_LEN(replies);
    run(f);
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        assert_int_equal(replies[i].outcome, HTTP_ANSWERED);
        drop(&replies[i]);
    }
    assert_int_equal(hanging.count, 0);
    assert_int_equal(f->server->requests, 2 + (int)ARRAY_LEN(replies));
    assert_int_equal(f->server->accepted, 3);
}

static void test_idle_connection_that_the_server_closed_is_replaced(void **state)
{
    struct fixture *f = *state;

    for (int i = 1; i <= 10; i++) {
        int64_t deadline_ms = clock_mono_ms() + CALL_MS;

        expect_path(f, "/bye", "x", HTTP_ANSWERED);
        while (f->server->said_bye < i && clock_mono_ms() < deadline_ms)
            sched_yield();
    }
    assert_int_equal(f->server->accepted, 10);
}

/* The connection was used before, and ends without an answer to what was sent: the server may have
 * done its work. */
static void test_request_on_a_dead_connection_is_not_sent_again(void **state)
{
    struct fixture *f = *state;
    struct reply reply = {0};

    for (int i = 1; i <= 8; i++) {
        expect_path(f, "/echo", NULL, HTTP_ANSWERED);
        start_path(f, "/die", "all of it", &reply);
        run(f);
        assert_int_equal(reply.outcome, HTTP_BROKEN);
        assert_int_equal(f->server->requests, 2 * i);
    }
    drop(&reply);
}

static void test_request_on_a_new_connection_is_not_sent_again(void **state)
{
    struct fixture *f = *state;

    expect_path(f, "/close", "x", HTTP_BROKEN);
    assert_int_equal(f->server->requests, 1);
    assert_int_equal(f->server->accepted, 1);
}

static void test_request_is_not_tried_on_one_connection_after_the_other(void **state)
{
    struct fixture *f = *state;

    meet(f, 10);
    expect_path(f, "/close", "x", HTTP_BROKEN);
    assert_int_equal(f->server->requests, 10 + 1);
    expect_path(f, "/echo", "x", HTTP_ANSWERED);
    assert_int_equal(f->server->accepted, 10);
}

/* One that waits for long, or for ever, must not do so on a connection that may be dead; and it
 * leaves none behind. */
static void test_fresh_call_has_a_connection_of_its_own(void **state)
{
    struct fixture *f = *state;
    char url[URL_BYTES];
    const struct http_pool_request request = {
        .method = "GET", .url = url, .is_fresh = true, .max_answer_bytes = 1000};
    struct reply reply = {0};

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/echo", f->server->port);
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
    for (int i = 1; i <= 5; i++) {
        start(f, &request, &reply);
        run(f);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_int_equal(f->server->accepted, 1 + i);
        expect_path(f, "/echo", "x", HTTP_ANSWERED); /* on the first one, still */
    }
    assert_int_equal(f->server->accepted, 1 + 5);
    f->open++;
    run_until(f, &f->server->closed_by_peer, 5);
    f->open--;
    drop(&reply);
}

/* Somebody else can watch every descriptor that is free. */
static void expect_no_watches(struct fixture *f)
{
    int pairs[PAIRS][2];
    struct watch *watches[PAIRS][2];

    for (size_t i = 0; i < PAIRS; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        for (size_t side = 0; side < 2; side++)
            watches[i][side] = loop_watch(f->loop, pairs[i][side], LOOP_READ, NULL, NULL);
    }
    for (size_t i = 0; i < PAIRS; i++) {
        for (size_t side = 0; side < 2; side++) {
            loop_unwatch(watches[i][side]);
            close(pairs[i][side]);
        }
    }
}

/* A listener that lets nobody in: those who connect get no answer.  The first two fill it. */
static void fill_listener(uint16_t *port, int fds[3])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    fds[0] = server_listen(port);
    assert_int_equal(listen(fds[0], 0), 0);
    address.sin_port = htons(*port);
    for (int i = 1; i < 3; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(connect(fds[i], (struct sockaddr *)&address, sizeof(address)) == 0 ||
                    errno == EINPROGRESS);
    }
}

static void test_no_watch_is_left_on_what_is_closed(void **state)
{
    struct fixture *f = *state;
    struct reply never = {0};
    char url[URL_BYTES];
    uint16_t port;
    int fds[3];

    fill_listener(&port, fds);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    for (int i = 0; i < 3; i++) {
        meet(f, 10); /* several connections that wait to be used again */
        expect_no_watches(f);
        expect_path(f, "/answer?HTTP/1.1+200+x|Connection:+close|Content-Length:+0||", NULL,
                    HTTP_ANSWERED);
        expect_path(f, "/bye", NULL, HTTP_ANSWERED);
        expect_path(f, "/close", NULL, HTTP_BROKEN);
        expect_no_watches(f);
        expect_path(f, "http://no-such.test/", NULL, HTTP_UNREACHABLE);
        expect_no_watches(f);
        expect_time_out(f, "/hang");
        expect_time_out(f, url);
        expect_no_watches(f);
        http_call_cancel(start_path(f, url, NULL, &never));
        f->open--;
        expect_no_watches(f);
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    http_pool_free(f->pool);
    expect_no_watches(f);
    f->pool = http_pool_create(f->loop);
}

struct turn {
    struct deferred end;
    int begun;
    int most;
    int count;
};

static void on_end_of_turn(void *ctx)
{
    struct turn *turn = ctx;

    turn->count++;
    turn->most = turn->begun > turn->most ? turn->begun : turn->most;
    turn->begun = 0;
}

struct crowd {
    struct reply reply; /* the first: on_done's */
    struct turn *turn;
};

static void on_one_of_a_crowd(void *ctx, const struct http_pool_answer *answer)
{
    struct crowd *crowd = ctx;

    crowd->turn->begun++;
    loop_at_end_of_turn(crowd->reply.f->loop, &crowd->turn->end);
    on_done(ctx, answer);
}

/* A crowd of new connections does not begin in one turn of the loop.  These here end as soon as
 * they begin. */
static void test_crowd_is_spread_over_turns(void **state)
{
    struct fixture *f = *state;
    struct turn turn = {.end = {.fn = on_end_of_turn, .ctx = &turn}};
    struct crowd *crowd = mem_alloc(PARALLEL * sizeof(*crowd));
    struct http_pool_request request = {
        .method = "GET", .url = "http:///", .timeout_ms = CALL_MS, .max_answer_bytes = 1};

    f->open = PARALLEL;
    for (int i = 0; i < PARALLEL; i++) {
        crowd[i].reply.f = f;
        crowd[i].turn = &turn;
        http_pool_start(f->pool, &request, on_one_of_a_crowd, &crowd[i]);
    }
    run(f);
    loop_undefer(f->loop, &turn.end);
    for (int i = 0; i < PARALLEL; i++)
        assert_int_equal(crowd[i].reply.count, 1);
    assert_true(turn.most <= MOST_BEGUN);
    assert_true(turn.count >= PARALLEL / MOST_BEGUN);
    free(crowd);
}

/* ---- no answer ---- */

static void test_refused_connection_is_unreachable(void **state)
{
    struct fixture *f = *state;
    char url[URL_BYTES];
    uint16_t port;
    int fd = server_listen(&port);

    close(fd);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    expect_path(f, url, "x", HTTP_UNREACHABLE);
}

static void test_what_cannot_be_sent_is_unreachable(void **state)
{
    struct fixture *f = *state;
    char url[URL_BYTES];

    expect_path(f, "http://no-such.test/", "x", HTTP_UNREACHABLE);
    expect_path(f, "http://", "x", HTTP_UNREACHABLE);
    expect_path(f, "http://[::1/", "x", HTTP_UNREACHABLE);
    expect_path(f, "/a b", "x", HTTP_UNREACHABLE);
    snprintf(url, sizeof(url), "ftp://127.0.0.1:%u/", f->server->port);
    expect_path(f, url, NULL, HTTP_UNREACHABLE);
    snprintf(url, sizeof(url), "file:///etc/passwd");
    expect_path(f, url, NULL, HTTP_UNREACHABLE);
    assert_int_equal(f->server->requests, 0);
}

static void test_time_out_counts_for_all_of_the_call(void **state)
{
    struct fixture *f = *state;

    expect_time_out(f, "/hang");
    expect_time_out(f, "/head");
    /* Those connections cannot be used again. */
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
    assert_int_equal(f->server->accepted, 3);
}

static void test_call_without_a_time_out_waits(void **state)
{
    struct fixture *f = *state;
    char url[URL_BYTES];
    const struct http_pool_request request = {.method = "GET", .url = url, .max_answer_bytes = 1};
    struct reply never = {0};
    struct http_call *call;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/hang", f->server->port);
    expect_time_out(f, "/hang"); /* its handle is used again, its time is not */
    call = start(f, &request, &never);
    f->open--;
    for (int i = 0; i < 3; i++)
        expect_time_out(f, "/hang");
    assert_int_equal(never.count, 0);
    http_call_cancel(call);
}

/* While a name is being looked up the loop goes on, and nobody waits for it when the call ends. */
static void test_slow_names_hold_nothing_up(void **state)
{
    struct fixture *f = *state;
    struct reply reply = {0};

    start_path(f, "http://slow.test/", NULL, &reply);
    f->open--;
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
    expect_time_out(f, "http://slow.test/");
    http_call_cancel(start_path(f, "http://slow.test/", NULL, &reply));
    f->open--;
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
    http_pool_free(f->pool);
    assert_int_equal(reply.count, 0);
    pthread_mutex_lock(&names_lock);
    assert_true(names_waiting > 0);
    names_may_go_on = true;
    pthread_cond_broadcast(&names_changed);
    while (names_waiting)
        pthread_cond_wait(&names_changed, &names_lock);
    pthread_mutex_unlock(&names_lock);
    f->pool = http_pool_create(f->loop);
}

/* ---- taking it back ---- */

static void test_cancelled_call_is_not_answered(void **state)
{
    struct fixture *f = *state;
    struct reply never = {0};
    struct http_call *call;

    http_call_cancel(start_path(f, "/echo", NULL, &never));
    f->open--;
    call = start_path(f, "/hang", "x", &never);
    run_until(f, &f->server->requests, 1);
    http_call_cancel(call);
    f->open--;
    run_until(f, &f->server->closed_by_peer, 1);
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
    assert_int_equal(never.count, 0);
}

static void cancel_other(void *ctx, const struct http_pool_answer *answer)
{
    struct reply *reply = ctx;

    on_done(ctx, answer);
    if (reply->f->victim) {
        http_call_cancel(reply->f->victim);
        reply->f->victim = NULL;
        if (--reply->f->open == 0)
            loop_stop(reply->f->loop);
    }
}

/* Two answers that came in one turn: the done of either one cancels the other. */
static void test_call_is_cancelled_by_the_done_of_another(void **state)
{
    struct fixture *f = *state;
    struct reply replies[2] = {{.f = f}, {.f = f}};
    struct http_pool_request request = {
        .method = "GET", .url = "http:///", .timeout_ms = CALL_MS, .max_answer_bytes = 1};

    f->open = 2;
    http_pool_start(f->pool, &request, cancel_other, &replies[0]);
    f->victim = http_pool_start(f->pool, &request, cancel_other, &replies[1]);
    run(f);
    assert_int_equal(replies[0].count + replies[1].count, 1);
    expect_path(f, "/echo", NULL, HTTP_ANSWERED);
}

struct chain {
    struct reply reply; /* the first: on_done's */
    struct http_call *call;
    int left;
};

static void start_next(void *ctx, const struct http_pool_answer *answer)
{
    struct chain *chain = ctx;

    http_call_cancel(chain->call);
    if (chain->left-- > 0)
        chain->call = start_path(chain->reply.f, "/echo", NULL, &chain->reply);
    on_done(&chain->reply, answer);
}

/* A done starts the next call, and takes itself back, which means nothing. */
static void test_done_may_start_calls(void **state)
{
    struct fixture *f = *state;
    struct chain chain = {.reply = {.f = f}, .left = 1};
    struct http_pool_request request = {
        .method = "GET", .url = "http:///", .timeout_ms = CALL_MS, .max_answer_bytes = 1};

    f->open = 1;
    chain.call = http_pool_start(f->pool, &request, start_next, &chain);
    run(f);
    assert_int_equal(chain.reply.count, 2);
    assert_int_equal(chain.reply.outcome, HTTP_ANSWERED);
    drop(&chain.reply);
}

static void expect_no_roots(struct fixture *f, const char *url)
{
    const struct http_pool_request request = {
        .method = "GET", .url = url, .timeout_ms = CALL_MS, .max_answer_bytes = 4096};
    struct reply reply = {0};

    start(f, &request, &reply);
    run(f);
    assert_int_equal(reply.outcome, HTTP_UNREACHABLE);
    assert_non_null(strstr(reply.error, "/nowhere/roots.pem"));
    drop(&reply);
}

/* A file that is not there tells that it is what libcurl would have read. */
static void test_roots_are_the_callers(void **state)
{
    struct fixture *f = *state;
    struct reply reply = {0};
    struct error err = {0};
    struct buf answer;
    long http_status = 0;
    char url[URL_BYTES];
    struct http_client_request request = {
        .url = url, .timeout_ms = CALL_MS, .ca_file = "/nowhere/roots.pem"};

    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", f->server->port);
    http_pool_trust(f->pool, "/nowhere/others.pem");
    expect_path(f, url, NULL, HTTP_UNREACHABLE);
    start_path(f, "/echo", NULL, &reply);
    http_pool_trust(f->pool, "");
    http_pool_trust(f->pool, "/nowhere/roots.pem");
    run(f);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    drop(&reply);
    expect_no_roots(f, url);
    buf_init(&answer, 4096);
    assert_int_equal(http_client_request(&request, &answer, &http_status, &err), UNAVAILABLE);
    assert_non_null(strstr(err.text, "CA cert"));
    buf_done(&answer);
}

/* tear_down frees the pool while they are connecting, sending, waiting for an answer, or for their
 * turn, and while one has been answered but not delivered. */
static void test_pool_is_freed_with_open_calls(void **state)
{
    struct fixture *f = *state;
    static struct reply never;

    http_pool_limit(f->pool, 4);
    start_path(f, "/hang", "x", &never);
    start_path(f, "/head", "x", &never);
    run_until(f, &f->server->requests, 2);
    for (int i = 0; i < 4; i++)
        start_path(f, "/echo", "x", &never);
    http_pool_free(f->pool);
    f->pool = http_pool_create(f->loop);
    start_path(f, "/echo", NULL, &never);
    assert_int_equal(never.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_request_is_sent_as_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_body_and_headers_of_the_caller_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_password_of_a_url_is_for_that_request, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_of_a_request_is_left_for_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_large_body_is_sent_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_headers_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_any_status_is_an_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_head_has_no_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer_has_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_that_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connection_is_used_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls_run_in_parallel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls_past_the_limit_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_idle_connection_that_the_server_closed_is_replaced,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_request_on_a_dead_connection_is_not_sent_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_request_on_a_new_connection_is_not_sent_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_request_is_not_tried_on_one_connection_after_the_other,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_watch_is_left_on_what_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crowd_is_spread_over_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_connection_is_unreachable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_sent_is_unreachable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_out_counts_for_all_of_the_call, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_fresh_call_has_a_connection_of_its_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_call_without_a_time_out_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slow_names_hold_nothing_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancelled_call_is_not_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_call_is_cancelled_by_the_done_of_another, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_done_may_start_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roots_are_the_callers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pool_is_freed_with_open_calls, set_up, tear_down),
    };
    int failed;

    if (http_client_setup(NULL) != OK)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_done();
    return failed;
}

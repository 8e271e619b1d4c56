/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin port of a program without a database: what reaches the connections of this process, and
 * what is not implemented.  The loop runs here, the client in a thread of its own.
 */
#include "buf.h"
#include "config.h"
#include "connections.h"
#include "http.h"
#include "loop.h"
#include "metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ANSWER_BYTES = 65536, TICK_MS = 5 };

struct exchange {
    int port;
    const char *request; /* head without its length, and body: "POST / HTTP/1.1\n{}" */
    char answer[ANSWER_BYTES];
    atomic_bool is_over;
};

struct server {
    struct config config;
    struct loop *loop;
    struct connections *connections;
    struct connection *connection; /* open, of nobody's socket */
    struct metrics metrics;
    struct http *http;
    struct exchange *exchange;
    char record[256]; /* of the last on_management */
};

static bool is_ready(void *ctx, const char **reason)
{
    (void)ctx;
    (void)reason;
    return true;
}

static void on_management(void *ctx, const struct http_management_record *record)
{
    struct server *server = ctx;

    snprintf(server->record, sizeof(server->record), "%s %s %d %s %s %s", record->route_key,
             record->connection_id ? record->connection_id : "-", record->status, record->source_ip,
             record->user_agent ? record->user_agent : "-", record->caller ? record->caller : "-");
}

static int start(void **state)
{
    struct server *server = calloc(1, sizeof(*server));
    char *argv[] = {NULL};
    char flag[] = "--admin-port=0";
    struct http_env env = {.is_ready = is_ready, .on_management = on_management, .ctx = server};
    int argc = 1;

    argv[0] = flag;
    assert_int_equal(config_load(&server->config, &argc, argv, NULL), OK);
    server->loop = loop_create();
    server->connections = connections_create(4096);
    server->connection = connection_create(server->connections);
    server->connection->source_ip = mem_strdup("192.0.2.7");
    connection_set_state(server->connection, CONNECTION_OPEN);
    connection_release(server->connection);
    env.loop = server->loop;
    env.config = &server->config;
    env.connections = server->connections;
    env.metrics = &server->metrics;
    assert_int_equal(http_create(&env, &server->http, NULL), OK);
    *state = server;
    return 0;
}

static int stop(void **state)
{
    struct server *server = *state;

    http_free(server->http);
    connection_free(server->connections, server->connection);
    connections_free(server->connections);
    loop_free(server->loop);
    config_done(&server->config);
    free(server);
    return 0;
}

/* ---- one request ---- */

static void write_request(const struct exchange *exchange, struct buf *out)
{
    const char *body = strrchr(exchange->request, '\n');

    buf_init(out, ANSWER_BYTES);
    buf_add(out, exchange->request, (size_t)(body - exchange->request));
    buf_addf(out, "\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body + 1), body + 1);
}

static void *talk(void *ctx)
{
    struct exchange *exchange = ctx;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)exchange->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = 0;
    struct buf out;
    ssize_t n;

    write_request(exchange, &out);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, out.data, out.len, MSG_NOSIGNAL) == (ssize_t)out.len) {
        while (len < ANSWER_BYTES - 1 &&
               (n = recv(fd, exchange->answer + len, ANSWER_BYTES - 1 - len, 0)) > 0)
            len += (size_t)n;
    }
    exchange->answer[len] = '\0';
    buf_done(&out);
    close(fd);
    atomic_store(&exchange->is_over, true);
    return NULL;
}

static void on_tick(void *ctx)
{
    struct server *server = ctx;

    if (atomic_load(&server->exchange->is_over))
        loop_stop(server->loop);
}

/* "200 <body>"; needs to be freed. */
static char *ask(struct server *server, const char *request)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    struct timer *timer = loop_timer(server->loop, TICK_MS, TICK_MS, on_tick, server);
    struct buf out;
    pthread_t thread;
    char *body;

    exchange->port = http_port(server->http);
    exchange->request = request;
    server->exchange = exchange;
    assert_int_equal(pthread_create(&thread, NULL, talk, exchange), 0);
    loop_run(server->loop);
    pthread_join(thread, NULL);
    loop_timer_stop(timer);
    body = strstr(exchange->answer, "\r\n\r\n");
    if (!body || strlen(exchange->answer) < 12)
        fail_msg("%s: no answer: %s", request, exchange->answer);
    buf_init(&out, ANSWER_BYTES);
    buf_addf(&out, "%.3s %s", exchange->answer + 9, body + 4);
    free(exchange);
    return buf_take(&out);
}

static void expect(struct server *server, const char *request, const char *expected)
{
    char *answer = ask(server, request);

    if (strcmp(answer, expected) != 0)
        fail_msg("%s\n  expected %s\n  got      %s", request, expected, answer);
    free(answer);
}

/* With the id of the connection for "%s", in both. */
static void expect_for(struct server *server, const char *request, const char *expected)
{
    const char *id = server->connection->id;
    struct buf asked, wanted;

    buf_init(&asked, ANSWER_BYTES);
    buf_init(&wanted, ANSWER_BYTES);
    for (const char *c = request; *c; c++)
        buf_add(&asked, *c == '#' ? id : c, *c == '#' ? strlen(id) : 1);
    for (const char *c = expected; *c; c++)
        buf_add(&wanted, *c == '#' ? id : c, *c == '#' ? strlen(id) : 1);
    expect(server, buf_str(&asked), buf_str(&wanted));
    buf_done(&asked);
    buf_done(&wanted);
}

/* What was sent since the last time: frames without their heads of two bytes. */
static void expect_sent(struct server *server, const char *expected)
{
    struct buf *out = &server->connection->out;
    struct buf text;

    buf_init(&text, ANSWER_BYTES);
    for (size_t at = 0; at + 2 <= out->len; at += 2 + (size_t)out->data[at + 1])
        buf_addf(&text, "%s%.*s", text.len ? " " : "", (int)out->data[at + 1], out->data + at + 2);
    assert_string_equal(buf_str(&text), expected);
    buf_done(&text);
    buf_clear(out);
}

/* ---- @connections ---- */

static void test_a_connection_here_is_reached(void **state)
{
    struct server *server = *state;
    char wanted[256];

    expect_for(server, "POST /dev/@connections/# HTTP/1.1\nhello", "200 ");
    expect_sent(server, "hello");
    snprintf(wanted, sizeof(wanted), "POST /@connections/{connectionId} %s 200 127.0.0.1 - -",
             server->connection->id);
    assert_string_equal(server->record, wanted);
    assert_int_equal(server->metrics.posts, 1);
    expect_for(server, "DELETE /dev/@connections/# HTTP/1.1\n", "204 ");
    assert_int_equal(server->connection->state, CONNECTION_CLOSING);
    expect_for(server, "POST /dev/@connections/# HTTP/1.1\nhello", "410 ");
    expect_for(server, "GET /dev/@connections/# HTTP/1.1\n", "410 ");
    expect_for(server, "DELETE /dev/@connections/# HTTP/1.1\n", "410 ");
}

static void test_any_other_id_is_gone(void **state)
{
    struct server *server = *state;
    char other[CONNECTION_ID_BYTES];
    char request[128];

    id_mint_connection(other);
    for (size_t i = 0; i < 3; i++) {
        static const char *const methods[] = {"GET", "POST", "DELETE"};

        snprintf(request, sizeof(request), "%s /dev/@connections/%s HTTP/1.1\n", methods[i], other);
        expect(server, request, "410 ");
    }
}

/* ---- @send ---- */

static void test_connections_and_all_are_reached(void **state)
{
    struct server *server = *state;

    expect_for(server,
               "POST /dev/@send HTTP/1.1\n"
               "{\"to\":{\"connections\":[\"#\",\"x\"]},\"message\":{\"n\":1}}",
               "200 {\"results\":[{\"connectionId\":\"#\",\"status\":200},"
               "{\"connectionId\":\"x\",\"status\":400}]}");
    expect_sent(server, "{\"n\":1}");
    expect(server, "POST /dev/@send HTTP/1.1\n{\"to\":\"all\",\"message\":\"hi\"}",
           "200 {\"published\":true}");
    expect_sent(server, "\"hi\"");
    expect_for(server,
               "POST /dev/@send HTTP/1.1\n"
               "{\"messages\":[{\"to\":\"all\",\"message\":1},"
               "{\"to\":{\"connections\":[\"#\"]},\"message\":2}]}",
               "200 {\"results\":[{\"published\":true},"
               "{\"results\":[{\"connectionId\":\"#\",\"status\":200}]}]}");
    expect_sent(server, "1 2");
}

static void test_a_full_queue_is_429_and_closes_nobody(void **state)
{
    struct server *server = *state;
    struct buf request;

    buf_init(&request, ANSWER_BYTES);
    buf_addf(&request,
             "POST /dev/@send HTTP/1.1\n{\"to\":{\"connections\":[\"%s\"]},\"message\":\"",
             server->connection->id);
    for (int i = 0; i < 5000; i++)
        buf_addc(&request, 'x');
    buf_adds(&request, "\"}");
    expect_for(server, buf_str(&request),
               "200 {\"results\":[{\"connectionId\":\"#\",\"status\":429}]}");
    buf_done(&request);
    assert_int_equal(server->connection->state, CONNECTION_OPEN);
    expect_sent(server, "");
}

static void test_users_and_topics_are_501_and_nothing_of_their_batch_is_sent(void **state)
{
    static const char text[] = "users and topics need a database, and this server has none";
    struct server *server = *state;
    char wanted[256];

    snprintf(wanted, sizeof(wanted), "501 {\"message\":\"%s\"}", text);
    expect(server, "POST /dev/@send HTTP/1.1\n{\"to\":{\"user\":\"ann\"},\"message\":1}", wanted);
    expect(server, "POST /dev/@send HTTP/1.1\n{\"to\":{\"topic\":\"t\"},\"message\":1}", wanted);
    snprintf(wanted, sizeof(wanted), "501 {\"message\":\"messages[1]: %s\"}", text);
    expect(server,
           "POST /dev/@send HTTP/1.1\n{\"messages\":[{\"to\":\"all\",\"message\":1},"
           "{\"to\":{\"topic\":\"t\"},\"message\":2}]}",
           wanted);
    expect_sent(server, "");
}

static void test_a_key_keeps_it_from_being_sent_twice(void **state)
{
    struct server *server = *state;

    for (int i = 0; i < 2; i++)
        expect(server,
               "POST /dev/@send HTTP/1.1\r\nIdempotency-Key: k\n{\"to\":\"all\",\"message\":1}",
               "200 {\"published\":true}");
    expect_sent(server, "1");
    expect(server, "POST /dev/@send HTTP/1.1\r\nIdempotency-Key: k\n{\"to\":\"all\",\"message\":2}",
           "422 {\"message\":\"The idempotency key was used for another request\"}");
    expect_sent(server, "");
}

/* ---- the rest ---- */

static void test_what_needs_a_database_is_501(void **state)
{
    static const char wanted[] = "501 {\"message\":\"There is no database behind this server\"}";
    struct server *server = *state;

    expect(server, "GET /connections HTTP/1.1\n", wanted);
    expect(server, "POST /users/ann HTTP/1.1\n1", wanted);
    expect(server, "POST /topics/t HTTP/1.1\n1", wanted);
    expect(server, "POST /email-verifications HTTP/1.1\n{\"email\":\"a@b\"}", wanted);
    expect(server, "GET /live HTTP/1.1\n", "200 {\"status\":\"live\"}");
    expect(server, "GET /ready HTTP/1.1\n", "200 {\"ready\":true}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_connection_here_is_reached),
        TEST(test_any_other_id_is_gone),
        TEST(test_connections_and_all_are_reached),
        TEST(test_a_full_queue_is_429_and_closes_nobody),
        TEST(test_users_and_topics_are_501_and_nothing_of_their_batch_is_sent),
        TEST(test_a_key_keeps_it_from_being_sent_twice),
        TEST(test_what_needs_a_database_is_501),
    };

    return cmocka_run_group_tests_name("http_local", tests, NULL, NULL);
}

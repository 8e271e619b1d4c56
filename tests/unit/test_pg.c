/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How connections begin, with a server of our own that looks and refuses.
 */
#include "pg.h"

#include "loop.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { STARTUP_BYTES = 4096, SSL_REQUEST = 80877103, MAX_FD = 1024 };

/* One connection is accepted; TLS is declined. */
struct server {
    pthread_t thread;
    int listener;
    uint16_t port;
    bool wanted_tls;
    char startup[STARTUP_BYTES]; /* names and values, each with a NUL behind it */
    size_t startup_len;
};

static bool read_all(int fd, void *out, size_t len)
{
    char *to = out;

    while (len > 0) {
        ssize_t n = read(fd, to, len);

        if (n <= 0)
            return false;
        to += n;
        len -= (size_t)n;
    }
    return true;
}

/* Length and code; the rest is in server->startup.  0: the client went away. */
static uint32_t read_startup(struct server *server, int fd)
{
    uint32_t head[2];

    if (!read_all(fd, head, sizeof(head)))
        return 0;
    server->startup_len = ntohl(head[0]) - sizeof(head);
    assert(server->startup_len <= sizeof(server->startup));
    return read_all(fd, server->startup, server->startup_len) ? ntohl(head[1]) : 0;
}

static void *serve(void *ctx)
{
    static const char refusal[] =
        "E\0\0\0\x34SFATAL\0VFATAL\0C28P01\0Mno, thanks\0Fauth.c\0L1\0Rf\0";
    struct server *server = ctx;
    int fd = accept(server->listener, NULL, NULL);
    uint32_t code = read_startup(server, fd);

    if (code == SSL_REQUEST) {
        server->wanted_tls = true;
        assert(write(fd, "N", 1) == 1);
        code = read_startup(server, fd);
    }
    if (code)
        assert(write(fd, refusal, sizeof(refusal)) == (ssize_t)sizeof(refusal));
    while (code && read(fd, &code, sizeof(code)) > 0) /* until it goes away */
        continue;
    close(fd);
    return NULL;
}

static int listen_anywhere(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server->listener, (struct sockaddr *)&address, len) != 0 ||
        listen(server->listener, 1) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &len) != 0)
        return -1;
    server->port = ntohs(address.sin_port);
    return 0;
}

static int setup(void **state)
{
    struct server *server = mem_alloc(sizeof(*server));

    *state = server;
    if (clearenv() != 0 || listen_anywhere(server) != 0)
        return -1;
    return pthread_create(&server->thread, NULL, serve, server);
}

/* Its thread has ended: what it saw may be looked at. */
static void finish(struct server *server)
{
    assert_int_equal(pthread_join(server->thread, NULL), 0);
}

static int teardown(void **state)
{
    struct server *server = *state;

    close(server->listener);
    free(server);
    return 0;
}

static const char *startup_value(const struct server *server, const char *name)
{
    const char *at = server->startup;

    while (at < server->startup + server->startup_len && *at) {
        const char *value = at + strlen(at) + 1;

        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

static void write_url(const struct server *server, const char *more, char *out, size_t size)
{
    snprintf(out, size, "host=127.0.0.1 port=%u user=theirs password=theirs %s", server->port,
             more);
}

static void test_a_refusal_has_an_sqlstate_and_the_login_is_ours(void **state)
{
    struct server *server = *state;
    struct pg_options options = {
        .application_name = "me", .connect_timeout_ms = 10000, .user = "ours", .password = "ours"};
    struct error err = {0};
    struct pg *pg = NULL;
    char url[256];

    write_url(server, "sslmode=disable", url, sizeof(url));
    options.url = url;
    assert_int_equal(pg_open(&options, &pg, &err), UNAVAILABLE);
    assert_null(pg);
    finish(server);
    assert_string_equal(err.sqlstate, "28P01");
    assert_non_null(strstr(err.text, "FATAL: no, thanks"));
    assert_null(strstr(err.text, "28P01"));
    assert_null(strstr(err.text, "auth.c"));
    assert_false(server->wanted_tls);
    assert_string_equal(startup_value(server, "user"), "ours");
}

static void test_where_tls_is_needed_nothing_is_sent_without(void **state)
{
    struct server *server = *state;
    struct pg_options options = {
        .application_name = "me", .connect_timeout_ms = 10000, .needs_tls = true};
    struct error err = {0};
    struct pg *pg = NULL;
    char url[256];

    write_url(server, "sslmode=prefer", url, sizeof(url));
    options.url = url;
    assert_int_equal(pg_open(&options, &pg, &err), UNAVAILABLE);
    finish(server);
    assert_true(server->wanted_tls);
    assert_null(startup_value(server, "user"));
    assert_non_null(strstr(err.text, "SSL"));
}

static void test_a_mode_that_verifies_is_not_weakened(void **state)
{
    struct server *server = *state;
    struct pg_options options = {
        .application_name = "me", .connect_timeout_ms = 10000, .needs_tls = true};
    struct error err = {0};
    struct pg *pg = NULL;
    char url[256];

    write_url(server, "sslmode=verify-full sslrootcert=/nowhere/ca.pem", url, sizeof(url));
    options.url = url;
    assert_int_equal(pg_open(&options, &pg, &err), UNAVAILABLE);
    shutdown(server->listener, SHUT_RDWR); /* libpq may not have come at all */
    finish(server);
    assert_null(startup_value(server, "user"));
}

/* ---- on the loop ---- */

struct client {
    struct loop *loop;
    struct server *server;
    struct pg *pg;
    struct error err;
    int user_timeout_ms;
    int keepalive;
};

/* libpq's socket is the one that is connected to the server. */
static int find_socket(const struct server *server)
{
    for (int fd = 3; fd < MAX_FD; fd++) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);

        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == server->port)
            return fd;
    }
    return -1;
}

static void on_connect(void *ctx, const struct error *err)
{
    struct client *client = ctx;
    int fd = find_socket(client->server);
    socklen_t len = sizeof(int);

    assert_non_null(err);
    client->err = *err;
    getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &client->user_timeout_ms, &len);
    getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &client->keepalive, &len);
    loop_stop(client->loop);
}

static void connect_on_loop(struct client *client, struct pg_options *options, const char *more)
{
    static const struct pg_events events = {.on_connect = on_connect};
    char url[256];

    write_url(client->server, more, url, sizeof(url));
    options->url = url;
    options->application_name = "me";
    options->connect_timeout_ms = 10000;
    client->loop = loop_create();
    client->pg = pg_start(client->loop, options, &events, client);
    loop_run(client->loop);
    pg_close(client->pg);
    loop_settle(client->loop);
    loop_free(client->loop);
    finish(client->server);
    assert_string_equal(client->err.sqlstate, "28P01");
}

static void test_behind_a_pooler_it_gives_up_sooner_and_sends_no_options(void **state)
{
    struct client client = {.server = *state};
    struct pg_options options = {.call_sql = "select 1", .statement_timeout_ms = 1000};

    connect_on_loop(&client, &options, "sslmode=disable");
    assert_int_equal(client.user_timeout_ms, 3000);
    assert_int_equal(client.keepalive, 1);
    assert_null(startup_value(client.server, "options"));
    assert_string_equal(startup_value(client.server, "application_name"), "me");
}

static void test_the_connection_string_may_say_otherwise(void **state)
{
    struct client client = {.server = *state};
    struct pg_options options = {.call_sql = "select 1"};

    connect_on_loop(&client, &options, "sslmode=disable tcp_user_timeout=4000");
    assert_int_equal(client.user_timeout_ms, 4000);
}

static void test_without_a_pooler_it_waits_longer(void **state)
{
    struct client client = {.server = *state};
    struct pg_options options = {.user = "ours"};

    connect_on_loop(&client, &options, "sslmode=disable");
    assert_int_equal(client.user_timeout_ms, 25000);
    assert_string_equal(startup_value(client.server, "user"), "ours");
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_a_refusal_has_an_sqlstate_and_the_login_is_ours),
        WITH_SERVER(test_where_tls_is_needed_nothing_is_sent_without),
        WITH_SERVER(test_a_mode_that_verifies_is_not_weakened),
        WITH_SERVER(test_behind_a_pooler_it_gives_up_sooner_and_sends_no_options),
        WITH_SERVER(test_the_connection_string_may_say_otherwise),
        WITH_SERVER(test_without_a_pooler_it_waits_longer),
    };

    return cmocka_run_group_tests_name("pg", tests, NULL, NULL);
}

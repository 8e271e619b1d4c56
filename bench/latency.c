/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency.c - how long it takes from just before a statement that publishes is sent until what it
 * published is here, on an idle server, one message at a time.
 *
 *   latency notify  --database URL [--count 1000] [--gap-ms 5]
 *   latency publish --database URL --port P --topic T [--path /dev] [--setup TEXT]
 *                   [--setup-reply PREFIX] [--count 1000] [--gap-ms 5]
 *
 * notify is the physical limit: one transaction that inserts into a table of its own and notifies,
 * and another database connection that listens.  publish calls switchboard.publish; a WebSocket
 * client that has sent --setup, and got what begins with --setup-reply, must receive exactly what
 * was published.  The result is a line of JSON; a message that takes 2 s ends the program with 1.
 */
#include "buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

enum {
    TIMEOUT_MS = 2000,
    MS_PER_S = 1000,
    US_PER_MS = 1000,
    NS_PER_MS = 1000000,
    TEXT_BYTES = 1024 * 1024,
    FRAME_BYTES_MOST = 65535,
    OPCODE = 0x0f,
    OPCODE_TEXT = 0x1,
    OPCODE_PING = 0x9,
    OPCODE_PONG = 0xa,
    FIN = 0x80,
    MASKED = 0x80,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    SHORT_HEAD = 2,
    MIDDLE_HEAD = 4
};

struct options {
    const char *database;
    const char *path;
    const char *topic;
    const char *setup;
    const char *setup_reply;
    int port;
    int count;
    int gap_ms;
};

/* What a message comes in by. */
struct receiver {
    PGconn *listening; /* notify */
    int fd;            /* publish: the WebSocket */
    struct buf in;     /* of it */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "latency: %s\n", what);
    exit(1);
}

static int64_t now_us(void)
{
    return clock_mono_us();
}

/* ---- PostgreSQL ---- */

static const char notify_setup_sql[] =
    "set client_min_messages = warning;"
    "create schema if not exists bench;"
    "create table if not exists bench.published ("
    " id bigint generated always as identity primary key,"
    " kind text, target text, payload text, created_at timestamptz default now());"
    "truncate bench.published";

static const char notify_sql[] =
    "with i as (insert into bench.published (kind, target, payload)"
    " values ('topic', $1, jsonb_build_object('n', $2::bigint)::text) returning id)"
    " select pg_notify('bench', id::text) from i";

static const char publish_sql[] =
    "select switchboard.publish($1, jsonb_build_object('n', $2::bigint))";

static void check(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted)
        die(PQerrorMessage(conn));
    PQclear(result);
}

static PGconn *connect_database(const char *url)
{
    PGconn *conn = PQconnectdb(url);

    if (PQstatus(conn) != CONNECTION_OK)
        die(PQerrorMessage(conn));
    return conn;
}

static void send_statement(PGconn *conn, const char *topic, int64_t n)
{
    char number[24];
    const char *values[] = {topic, number};

    snprintf(number, sizeof(number), "%" PRId64, n);
    if (!PQsendQueryPrepared(conn, "publish", (int)ARRAY_LEN(values), values, NULL, NULL, 0))
        die(PQerrorMessage(conn));
}

/* The answer to the statement, after its message was timed. */
static void finish_statement(PGconn *conn)
{
    PGresult *result;

    while ((result = PQgetResult(conn)))
        check(conn, result, PGRES_TUPLES_OK);
}

/* True when one has come. */
static bool take_notification(PGconn *conn)
{
    PGnotify *notification;

    if (!PQconsumeInput(conn))
        die(PQerrorMessage(conn));
    notification = PQnotifies(conn);
    PQfreemem(notification);
    return notification != NULL;
}

/* ---- the WebSocket client ---- */

static void wait_readable(int fd, int64_t deadline_us)
{
    int64_t left_us = deadline_us - now_us();
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    if (left_us <= 0 || poll(&poll_fd, 1, (int)(left_us / US_PER_MS) + 1) <= 0)
        die("no message within 2 s");
}

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            die(strerror(errno));
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

/* Reads once what is there. */
static void read_some(struct receiver *receiver)
{
    char *to = buf_reserve(&receiver->in, FRAME_BYTES_MOST);
    ssize_t n = to ? recv(receiver->fd, to, FRAME_BYTES_MOST, MSG_DONTWAIT) : 0;

    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("the WebSocket ended");
    if (n > 0)
        buf_commit(&receiver->in, (size_t)n);
}

static void send_frame(int fd, unsigned opcode, const char *text, size_t len)
{
    static const char no_mask[4] = "";
    struct buf out;

    if (len > FRAME_BYTES_MOST)
        die("--setup is too long");
    buf_init(&out, TEXT_BYTES);
    buf_addc(&out, (char)(FIN | opcode));
    if (len < LENGTH_16) {
        buf_addc(&out, (char)(MASKED | len));
    } else {
        buf_addc(&out, (char)(MASKED | LENGTH_16));
        buf_addc(&out, (char)(len >> 8));
        buf_addc(&out, (char)len);
    }
    buf_add(&out, no_mask, sizeof(no_mask));
    buf_add(&out, text, len);
    write_all(fd, out.data, out.len);
    buf_done(&out);
}

/* Takes the first frame off; false when it is not complete.  *text is NULL when it is none of
 * text, and otherwise yours. */
static bool take_frame(struct receiver *receiver, char **text)
{
    const unsigned char *p = (const unsigned char *)receiver->in.data;
    size_t have = receiver->in.len;
    size_t head = SHORT_HEAD, len;
    unsigned opcode;

    *text = NULL;
    if (have < SHORT_HEAD || (p[1] == LENGTH_16 && have < MIDDLE_HEAD))
        return false;
    if (p[1] >= LENGTH_64)
        die("a frame that is too large");
    len = p[1];
    if (len == LENGTH_16) {
        len = (size_t)p[2] << 8 | p[3];
        head = MIDDLE_HEAD;
    }
    if (have < head + len)
        return false;
    opcode = p[0] & OPCODE;
    if (opcode == OPCODE_TEXT)
        *text = mem_strndup(receiver->in.data + head, len);
    else if (opcode == OPCODE_PING)
        send_frame(receiver->fd, OPCODE_PONG, receiver->in.data + head, len);
    buf_drop_front(&receiver->in, head + len);
    return true;
}

/* The next text; yours. */
static char *next_text(struct receiver *receiver, int64_t deadline_us)
{
    char *text;

    for (;;) {
        while (take_frame(receiver, &text)) {
            if (text)
                return text;
        }
        wait_readable(receiver->fd, deadline_us);
        read_some(receiver);
    }
}

static int connect_socket(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die(strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void shake_hands(struct receiver *receiver, const char *path)
{
    static const char first[] = "HTTP/1.1 101";
    int64_t deadline_us = now_us() + TIMEOUT_MS * US_PER_MS;
    const char *end;
    struct buf out;

    buf_init(&out, TEXT_BYTES);
    buf_addf(&out,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: latency\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             "Sec-WebSocket-Version: 13\r\n\r\n",
             path);
    write_all(receiver->fd, out.data, out.len);
    buf_done(&out);
    while (!(end = strstr(buf_str(&receiver->in), "\r\n\r\n"))) {
        wait_readable(receiver->fd, deadline_us);
        read_some(receiver);
    }
    if (strncmp(receiver->in.data, first, strlen(first)) != 0)
        die(buf_str(&receiver->in));
    buf_drop_front(&receiver->in, (size_t)(end + 4 - receiver->in.data));
}

static void set_up(struct receiver *receiver, const struct options *options)
{
    int64_t deadline_us = now_us() + TIMEOUT_MS * US_PER_MS;
    bool is_there = !options->setup_reply;

    if (options->setup)
        send_frame(receiver->fd, OPCODE_TEXT, options->setup, strlen(options->setup));
    while (!is_there) {
        char *text = next_text(receiver, deadline_us);

        is_there = strncmp(text, options->setup_reply, strlen(options->setup_reply)) == 0;
        free(text);
    }
}

/* ---- measuring ---- */

static void await_notification(PGconn *listening, int64_t deadline_us)
{
    do
        wait_readable(PQsocket(listening), deadline_us);
    while (!take_notification(listening));
}

static void await_text(struct receiver *receiver, int64_t n, int64_t deadline_us)
{
    char *text = next_text(receiver, deadline_us);
    char wanted[40];

    snprintf(wanted, sizeof(wanted), "{\"n\": %" PRId64 "}", n);
    if (strcmp(text, wanted) != 0) {
        fprintf(stderr, "latency: \"%s\" instead of \"%s\"\n", text, wanted);
        exit(1);
    }
    free(text);
}

static int64_t measure_one(PGconn *conn, struct receiver *receiver, const char *topic, int64_t n)
{
    int64_t began_us = now_us();
    int64_t deadline_us = began_us + TIMEOUT_MS * US_PER_MS;
    int64_t took_us;

    send_statement(conn, topic, n);
    if (receiver->listening)
        await_notification(receiver->listening, deadline_us);
    else
        await_text(receiver, n, deadline_us);
    took_us = now_us() - began_us;
    finish_statement(conn);
    return took_us;
}

static int compare(const void *a, const void *b)
{
    const int64_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static void print_result(int64_t *took_us, int count)
{
    qsort(took_us, (size_t)count, sizeof(*took_us), compare);
    printf("{\"count\": %d, \"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64 ", \"max_us\": %" PRId64
           "}\n",
           count, took_us[count / 2], took_us[count * 99 / 100], took_us[count - 1]);
}

static void measure(PGconn *conn, struct receiver *receiver, const struct options *options)
{
    const struct timespec gap = {options->gap_ms / MS_PER_S,
                                 (long)(options->gap_ms % MS_PER_S) * NS_PER_MS};
    int64_t *took_us = mem_alloc((size_t)options->count * sizeof(*took_us));

    for (int i = 0; i < options->count; i++) {
        nanosleep(&gap, NULL);
        took_us[i] = measure_one(conn, receiver, options->topic, i);
    }
    print_result(took_us, options->count);
    free(took_us);
}

static void run(const struct options *options, bool is_notify)
{
    struct receiver receiver = {.fd = -1};
    PGconn *conn = connect_database(options->database);

    buf_init(&receiver.in, TEXT_BYTES);
    if (is_notify) {
        check(conn, PQexec(conn, notify_setup_sql), PGRES_COMMAND_OK);
        receiver.listening = connect_database(options->database);
        check(receiver.listening, PQexec(receiver.listening, "listen bench"), PGRES_COMMAND_OK);
    } else {
        receiver.fd = connect_socket(options->port);
        shake_hands(&receiver, options->path);
        set_up(&receiver, options);
    }
    check(conn, PQprepare(conn, "publish", is_notify ? notify_sql : publish_sql, 2, NULL),
          PGRES_COMMAND_OK);
    measure(conn, &receiver, options);
    PQfinish(receiver.listening);
    PQfinish(conn);
    buf_done(&receiver.in);
    if (receiver.fd >= 0)
        close(receiver.fd);
}

/* ---- arguments ---- */

static bool read_options(int argc, char **argv, struct options *out)
{
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];

        if (i + 1 == argc)
            return false;
        if (strcmp(name, "--database") == 0)
            out->database = value;
        else if (strcmp(name, "--path") == 0)
            out->path = value;
        else if (strcmp(name, "--topic") == 0)
            out->topic = value;
        else if (strcmp(name, "--setup") == 0)
            out->setup = value;
        else if (strcmp(name, "--setup-reply") == 0)
            out->setup_reply = value;
        else if (strcmp(name, "--port") == 0)
            out->port = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--count") == 0)
            out->count = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "--gap-ms") == 0)
            out->gap_ms = (int)strtol(value, NULL, 10);
        else
            return false;
    }
    return out->database && out->count > 0 && out->gap_ms >= 0;
}

int main(int argc, char **argv)
{
    struct options options = {.path = "/dev", .topic = "bench", .count = 1000, .gap_ms = 5};
    bool is_notify = argc > 1 && strcmp(argv[1], "notify") == 0;
    bool is_publish = argc > 1 && strcmp(argv[1], "publish") == 0;

    if ((!is_notify && !is_publish) || !read_options(argc, argv, &options) ||
        (is_publish && !options.port)) {
        fprintf(stderr, "latency notify|publish --database URL [--port P --path PATH --topic TOPIC"
                        " --setup TEXT --setup-reply PREFIX] [--count N] [--gap-ms N]\n");
        return 2;
    }
    run(&options, is_notify);
    return 0;
}

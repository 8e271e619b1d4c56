/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference_storm.c - the smallest server that lets a crowd in and has a durable row of each client
 * before its 101: the physical limit of a connect storm on this machine.
 *
 *   reference_storm --port P --database URL [--batch 256] [--connections 2]
 *
 * What has come by the end of a loop turn is one insert, of at most --batch rows, on a database
 * connection that has nothing to do; while all of them are busy, it waits and becomes more.  The
 * rows go to bench.websocket_connections, which is made like the service's table, with its indexes,
 * and emptied at the start: the role needs the right to make the schema and to read that table.
 * Prints "port N" when it listens (P 0: any), at the end the rows and the inserts it took.
 */
#include "reference.h"

#include "http_head.h"
#include "pgarray.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <libpq-fe.h>

enum {
    ID_BYTES = 21,
    CONNECTIONS_MOST = 8,
    DEFAULT_BATCH = 256,
    DEFAULT_CONNECTIONS = 2,
    ARRAYS = 4,
    PARAMETERS = ARRAYS + 2,
    ARRAY_BYTES = 16 * 1024 * 1024,
    OPCODE = 0x0f,
    OPCODE_CLOSE = 0x8
};

enum { PEER_NEW, PEER_KNOWN };

static const char setup_sql[] = "create schema if not exists bench;"
                                "create table if not exists bench.websocket_connections"
                                " (like switchboard.websocket_connections including all)"
                                " with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);"
                                "truncate bench.websocket_connections";

static const char insert_sql[] =
    "insert into bench.websocket_connections (connection_id, connection_type,"
    " api_gateway_endpoint, node_id, stage, source_ip, user_agent, user_email, expires_at)"
    " select u.id, 'local', $5, $6, 'dev', u.ip, u.agent, u.email, now() + interval '2 hours'"
    " from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as u (id, ip, agent, email)";

/* A handshake whose row is not there yet. */
struct guest {
    struct server_peer *peer; /* NULL: it has gone */
    char id[ID_BYTES];
    char ip[INET_ADDRSTRLEN];
    char *agent; /* NULL: none */
    char *email; /* NULL: none */
    char answer[HANDSHAKE_ANSWER_BYTES];
    size_t answer_len;
};

struct database {
    struct server_source source;
    PGconn *conn;
    struct guest **guests; /* of the insert that is under way */
    size_t guest_count;    /* 0: it has nothing to do */
};

struct storm {
    struct server *server;
    struct database databases[CONNECTIONS_MOST];
    size_t database_count;
    size_t batch_most;
    struct guest **waiting;
    size_t waiting_count;
    size_t waiting_cap;
    unsigned long long rows;
    unsigned long long inserts;
};

static struct storm storm; /* there is one server in a process */

/* ---- guests ---- */

static void guest_free(struct guest *guest)
{
    if (guest->peer)
        guest->peer->ctx = NULL;
    free(guest->agent);
    free(guest->email);
    free(guest);
}

static void make_id(char out[ID_BYTES])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[ID_BYTES - 3];

    random_bytes(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        out[i] = alphabet[random[i] & 63];
    memcpy(out + sizeof(random), "==", 3);
}

static void read_ip(int fd, char out[INET_ADDRSTRLEN])
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof(address);

    (void)getpeername(fd, (struct sockaddr *)&address, &len);
    if (!inet_ntop(AF_INET, &address.sin_addr, out, INET_ADDRSTRLEN))
        out[0] = '\0';
}

static char *read_email(const struct http_head *head)
{
    struct slice rest = head->query;
    struct slice name, value;
    char *email;

    while (query_next(&rest, &name, &value)) {
        if (!slice_is(name, "email"))
            continue;
        email = mem_alloc(value.len + 1);
        if (url_decode(value, true, email) < 0)
            email[0] = '\0';
        return email;
    }
    return NULL;
}

static void add_waiting(struct guest *guest)
{
    if (storm.waiting_count == storm.waiting_cap) {
        storm.waiting_cap = storm.waiting_cap ? 2 * storm.waiting_cap : 1024;
        storm.waiting = mem_realloc(storm.waiting, storm.waiting_cap * sizeof(*storm.waiting));
    }
    storm.waiting[storm.waiting_count++] = guest;
}

static void welcome(struct server_peer *peer, const struct http_head *head)
{
    const struct http_header *agent = http_head_find(head, "User-Agent");
    struct guest *guest = mem_alloc(sizeof(*guest));

    guest->peer = peer;
    make_id(guest->id);
    read_ip(peer->fd, guest->ip);
    guest->agent = agent ? slice_dup(agent->value) : NULL;
    guest->email = read_email(head);
    guest->answer_len = handshake_answer(head, guest->answer);
    peer->ctx = guest;
    peer->state = PEER_KNOWN;
    add_waiting(guest);
}

/* Of one that is open, only a close frame means anything. */
static size_t on_data(struct server_peer *peer, char *data, size_t len)
{
    struct http_head head;

    if (peer->state == PEER_NEW) {
        if (!handshake_read(peer, data, len, &head))
            return 0;
        welcome(peer, &head);
    } else if ((data[0] & OPCODE) == OPCODE_CLOSE) {
        server_close(peer);
    }
    return len;
}

static void on_closed(struct server_peer *peer)
{
    struct guest *guest = peer->ctx;

    if (guest)
        guest->peer = NULL;
}

/* ---- inserts ---- */

static _Noreturn void die(const struct database *database)
{
    fprintf(stderr, "reference_storm: %s", PQerrorMessage(database->conn));
    exit(1);
}

/* Writes what is left of the insert; then only the answer is of interest. */
static void flush(struct database *database)
{
    int left = PQflush(database->conn);

    if (left < 0)
        die(database);
    server_watch(storm.server, PQsocket(database->conn), left ? EPOLLIN | EPOLLOUT : EPOLLIN,
                 &database->source);
}

static void write_arrays(const struct database *database, struct buf arrays[ARRAYS])
{
    for (size_t i = 0; i < ARRAYS; i++) {
        buf_init(&arrays[i], ARRAY_BYTES);
        pgarray_begin(&arrays[i]);
    }
    for (size_t i = 0; i < database->guest_count; i++) {
        const struct guest *guest = database->guests[i];

        pgarray_add(&arrays[0], guest->id);
        pgarray_add(&arrays[1], guest->ip);
        pgarray_add(&arrays[2], guest->agent);
        pgarray_add(&arrays[3], guest->email);
    }
    for (size_t i = 0; i < ARRAYS; i++)
        pgarray_end(&arrays[i]);
}

static void send_insert(struct database *database)
{
    const char *values[PARAMETERS] = {[ARRAYS] = "http://127.0.0.1:8081/dev",
                                      [ARRAYS + 1] = "7b1a8f8e-2d3c-4f5a-9b6c-0d1e2f3a4b5c"};
    struct buf arrays[ARRAYS];

    write_arrays(database, arrays);
    for (size_t i = 0; i < ARRAYS; i++)
        values[i] = buf_str(&arrays[i]);
    if (!PQsendQueryPrepared(database->conn, "insert", PARAMETERS, values, NULL, NULL, 0))
        die(database);
    for (size_t i = 0; i < ARRAYS; i++)
        buf_done(&arrays[i]);
    flush(database);
    storm.inserts++;
}

/* The oldest that are still there. */
static void take_batch(struct database *database)
{
    size_t taken = 0;

    for (; taken < storm.waiting_count && database->guest_count < storm.batch_most; taken++) {
        if (storm.waiting[taken]->peer)
            database->guests[database->guest_count++] = storm.waiting[taken];
        else
            guest_free(storm.waiting[taken]);
    }
    storm.waiting_count -= taken;
    memmove(storm.waiting, storm.waiting + taken, storm.waiting_count * sizeof(*storm.waiting));
}

static void on_turn(void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < storm.database_count && storm.waiting_count > 0; i++) {
        struct database *database = &storm.databases[i];

        if (database->guest_count > 0)
            continue;
        take_batch(database);
        if (database->guest_count > 0)
            send_insert(database);
    }
}

static void on_committed(struct database *database)
{
    storm.rows += database->guest_count;
    for (size_t i = 0; i < database->guest_count; i++) {
        struct guest *guest = database->guests[i];

        if (guest->peer)
            server_send(guest->peer, guest->answer, guest->answer_len);
        guest_free(guest);
    }
    database->guest_count = 0;
}

static void on_database(struct server_source *source, uint32_t events)
{
    struct database *database = CONTAINER_OF(source, struct database, source);
    PGresult *result;

    if (events & EPOLLOUT)
        flush(database);
    if (!PQconsumeInput(database->conn))
        die(database);
    while (database->guest_count > 0 && !PQisBusy(database->conn)) {
        result = PQgetResult(database->conn);
        if (!result)
            on_committed(database);
        else if (PQresultStatus(result) != PGRES_COMMAND_OK)
            die(database);
        PQclear(result);
    }
}

/* ---- life ---- */

static void run_sql(const struct database *database, const char *sql)
{
    PGresult *result = PQexec(database->conn, sql);

    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        die(database);
    PQclear(result);
}

static void connect_database(struct database *database, const char *url)
{
    PGresult *result;

    database->source.on_ready = on_database;
    database->guests = mem_alloc(storm.batch_most * sizeof(*database->guests));
    database->conn = PQconnectdb(url);
    if (PQstatus(database->conn) != CONNECTION_OK)
        die(database);
    run_sql(database, "set client_min_messages = warning");
    if (database == storm.databases)
        run_sql(database, setup_sql);
    result = PQprepare(database->conn, "insert", insert_sql, PARAMETERS, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK || PQsetnonblocking(database->conn, 1) != 0)
        die(database);
    PQclear(result);
    server_watch(storm.server, PQsocket(database->conn), EPOLLIN, &database->source);
}

static const char *argument(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    }
    return otherwise;
}

static size_t number(int argc, char **argv, const char *name, size_t otherwise)
{
    const char *text = argument(argc, argv, name, NULL);
    size_t value = text ? strtoul(text, NULL, 10) : otherwise;

    return value ? value : otherwise;
}

int main(int argc, char **argv)
{
    const struct server_handler handler = {
        .on_data = on_data, .on_closed = on_closed, .on_turn = on_turn};
    const char *url = argument(argc, argv, "--database", NULL);

    storm.batch_most = number(argc, argv, "--batch", DEFAULT_BATCH);
    storm.database_count = number(argc, argv, "--connections", DEFAULT_CONNECTIONS);
    if (!url || storm.database_count > CONNECTIONS_MOST) {
        fprintf(stderr, "reference_storm --port P --database URL [--batch N] [--connections N]\n");
        return 2;
    }
    storm.server = server_create(server_port_argument(argc, argv), &handler);
    for (size_t i = 0; i < storm.database_count; i++)
        connect_database(&storm.databases[i], url);
    server_run(storm.server);
    printf("rows %llu inserts %llu\n", storm.rows, storm.inserts);
    for (size_t i = 0; i < storm.database_count; i++) {
        PQfinish(storm.databases[i].conn);
        free(storm.databases[i].guests);
    }
    free(storm.waiting);
    server_free(storm.server);
    return 0;
}

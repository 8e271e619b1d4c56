/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "config.h"
#include "http_head.h"
#include "http_internal.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "store.h"

enum {
    BACKLOG = 128,
    CONNECTION_LIMIT = 512,
    IDLE_TIMEOUT_S = 60,
    MAX_ANSWER_BYTES = 16 * 1024 * 1024,
    MAX_DRAINED_BYTES = 8 * HTTP_MAX_BODY_BYTES, /* read and dropped, so that the 413 arrives */
    UUID_BYTES = 37
};

struct http {
    struct http_env env;
    struct MHD_Daemon *daemon;
    struct watch *watch;
    struct timer *timer;
    struct deferred turn;
    struct http_request *requests;
    int port;
};

/* ---- answering ---- */

static const struct {
    enum status status;
    int http_status;
    const char *message;
} database_errors[] = {
    {UNAVAILABLE, MHD_HTTP_SERVICE_UNAVAILABLE, "The database is away"},
    {LIMIT, MHD_HTTP_GATEWAY_TIMEOUT, "The database took too long"},
    {INVALID, MHD_HTTP_BAD_REQUEST, "The database refused a value"},
};

static void answer_database_error(struct http_request *request, const struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(database_errors); i++) {
        if (database_errors[i].status == err->status) {
            http_answer_message(request, database_errors[i].http_status,
                                database_errors[i].message);
            return;
        }
    }
    log_error("http.database_error", "error=%s sqlstate=%s", log_quote(err->text),
              log_quote(err->sqlstate));
    http_answer_message(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "Internal server error");
}

void http_answer(struct http_request *request, int status)
{
    request->status = status;
    if (!request->is_suspended)
        return;
    request->is_suspended = false;
    MHD_resume_connection(request->connection);
    loop_at_end_of_turn(request->env->loop, &request->http->turn);
}

void http_answer_message(struct http_request *request, int status, const char *message)
{
    buf_clear(&request->answer);
    json_open(&request->answer, NULL, '{');
    json_str(&request->answer, "message", message);
    json_close(&request->answer, '}');
    http_answer(request, status);
}

static void make_uuid(char out[UUID_BYTES])
{
    unsigned char b[16];

    random_bytes(b, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4, variant 10 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, UUID_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

static void add_request_ids(struct MHD_Response *response)
{
    char request_id[UUID_BYTES];
    char gateway_id[REQUEST_ID_BYTES];

    make_uuid(request_id);
    id_mint_request(gateway_id);
    MHD_add_response_header(response, "x-amzn-RequestId", request_id);
    MHD_add_response_header(response, "x-amz-apigw-id", gateway_id);
}

static enum MHD_Result send_answer(struct http_request *request)
{
    struct MHD_Response *response;
    enum MHD_Result result;

    if (buf_full(&request->answer))
        http_answer_message(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "The answer is too large");
    response = MHD_create_response_from_buffer(request->answer.len, request->answer.data,
                                               MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    if (request->content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, request->content_type);
    if (request->error_type)
        MHD_add_response_header(response, "x-amzn-ErrorType", request->error_type);
    if (request->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
    if (request->is_management)
        add_request_ids(response);
    result = MHD_queue_response(request->connection, (unsigned int)request->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- requests ---- */

static struct http_request *create_request(struct http *http, struct MHD_Connection *connection,
                                           const char *url, const char *method)
{
    struct http_request *request = mem_alloc(sizeof(*request));

    request->http = http;
    request->env = &http->env;
    request->connection = connection;
    request->method = mem_strdup(method);
    request->path = mem_strdup(url);
    request->content_type = "application/json";
    buf_init(&request->body, HTTP_MAX_BODY_BYTES);
    buf_init(&request->answer, MAX_ANSWER_BYTES);
    request->next = http->requests;
    if (request->next)
        request->next->prev = request;
    http->requests = request;
    return request;
}

static void free_request(struct http_request *request)
{
    buf_done(&request->body);
    buf_done(&request->answer);
    free(request->method);
    free(request->path);
    free(request);
}

char *http_parameter(struct http_request *request, const char *name)
{
    const char *raw = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
    char *value;

    if (!raw)
        return NULL;
    value = mem_alloc(strlen(raw) + 1);
    if (url_decode((struct slice){raw, strlen(raw)}, true, value) < 0) {
        free(value);
        return NULL;
    }
    return value;
}

/* ---- the database ---- */

static void on_database(void *ctx, const struct error *err, const struct rows *rows)
{
    struct http_request *request = ctx;

    request->is_waiting = false;
    if (!request->connection)
        free_request(request);
    else if (err)
        answer_database_error(request, err);
    else
        request->on_rows(request, rows);
}

void http_query(struct http_request *request, const struct store_query *query,
                void (*on_rows)(struct http_request *request, const struct rows *rows))
{
    request->on_rows = on_rows;
    request->is_waiting = true;
    store_call(request->env->store, query, on_database, request);
}

/* ---- libmicrohttpd's callbacks ---- */

static bool is_length_too_large(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length && strtoull(length, NULL, 10) > HTTP_MAX_BODY_BYTES;
}

/* A client that asked first (RFC 9110, section 10.1.1) is told before it sends. */
static bool is_refused_at_head(struct MHD_Connection *connection)
{
    return is_length_too_large(connection) &&
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
}

static enum MHD_Result take_body(struct http_request *request, const char *data, size_t *size)
{
    request->received += *size;
    if (request->received > MAX_DRAINED_BYTES)
        return MHD_NO;
    buf_add(&request->body, data, *size);
    *size = 0;
    return MHD_YES;
}

/* Called with the head, then for each piece of the body, then once more with nothing; and again
 * after a suspended request was resumed. */
/* NOLINTNEXTLINE(readability-function-size): libmicrohttpd's signature */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **request_of)
{
    struct http_request *request = *request_of;

    (void)version;
    if (!request) {
        request = create_request(ctx, connection, url, method);
        *request_of = request;
        if (!is_refused_at_head(connection))
            return MHD_YES;
        request->body.full = true;
    }
    if (*size > 0)
        return take_body(request, data, size);
    if (request->status == 0)
        http_route(request);
    if (request->status != 0)
        return send_answer(request);
    request->is_suspended = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request_of,
                         enum MHD_RequestTerminationCode why)
{
    struct http *http = ctx;
    struct http_request *request = *request_of;

    (void)connection;
    (void)why;
    if (!request)
        return;
    *request_of = NULL;
    if (request->prev)
        request->prev->next = request->next;
    else
        http->requests = request->next;
    if (request->next)
        request->next->prev = request->prev;
    request->connection = NULL;
    if (!request->is_waiting)
        free_request(request);
}

/* Paths and parameters stay as they were sent: they are decoded once, by us, piece by piece. */
static size_t keep_encoded(void *ctx, struct MHD_Connection *connection, char *text)
{
    (void)ctx;
    (void)connection;
    return strlen(text);
}

/* ---- a guest on the loop ---- */

static void run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    MHD_run(http->daemon);
    if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES)
        loop_timer_set(http->timer, (int64_t)timeout_ms, 0);
}

static void on_descriptor(void *ctx, int events)
{
    (void)events;
    run(ctx);
}

static void on_time(void *ctx)
{
    run(ctx);
}

/* ---- life ---- */

static enum status listen_on(const struct addrinfo *address, int *out, struct error *err)
{
    int on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return fail(err, UNAVAILABLE, "%s", strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        fail(err, UNAVAILABLE, "%s", strerror(errno));
        close(fd);
        return UNAVAILABLE;
    }
    *out = fd;
    return OK;
}

/* Resolves on the caller's time: before the loop turns. */
static enum status open_listener(const struct config *config, int *out, struct error *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    enum status st;
    int rc;

    snprintf(port, sizeof(port), "%u", (unsigned int)config->admin_port & 0xffff);
    rc = getaddrinfo(config->admin_address, port, &hints, &found);
    if (rc != 0)
        st = fail(err, UNAVAILABLE, "%s", gai_strerror(rc));
    else
        st = listen_on(found, out, err);
    if (rc == 0)
        freeaddrinfo(found);
    if (st != OK)
        fail_context(err, "cannot listen on %s:%s", config->admin_address, port);
    return st;
}

static int port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char port[8] = "0";

    if (getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&address, len, NULL, 0, port, sizeof(port),
                          NI_NUMERICSERV);
    return (int)strtol(port, NULL, 10);
}

static struct MHD_Daemon *start_daemon(struct http *http, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
                            http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED,
                            on_completed, http, MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTION_LIMIT,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)IDLE_TIMEOUT_S,
                            MHD_OPTION_END);
}

enum status http_create(const struct http_env *env, struct http **out, struct error *err)
{
    const union MHD_DaemonInfo *info;
    struct http *http;
    int fd = -1;

    if (open_listener(env->config, &fd, err) != OK)
        return UNAVAILABLE;
    http = mem_alloc(sizeof(*http));
    http->env = *env;
    http->port = port_of(fd);
    http->turn = (struct deferred){.fn = on_time, .ctx = http};
    http->daemon = start_daemon(http, fd);
    if (!http->daemon) {
        close(fd);
        free(http);
        return fail(err, INTERNAL, "libmicrohttpd did not start");
    }
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    http->watch = loop_watch(env->loop, info->epoll_fd, LOOP_READ, on_descriptor, http);
    http->timer = loop_timer(env->loop, 0, 0, on_time, http);
    *out = http;
    return OK;
}

int http_port(const struct http *http)
{
    return http->port;
}

/* libmicrohttpd wants nothing suspended when it stops; it closes the listening socket.  A request
 * that still waits for the database is freed when that answers. */
void http_free(struct http *http)
{
    loop_undefer(http->env.loop, &http->turn);
    loop_timer_stop(http->timer);
    loop_unwatch(http->watch);
    for (struct http_request *request = http->requests; request; request = request->next) {
        if (request->is_suspended) {
            request->is_suspended = false;
            MHD_resume_connection(request->connection);
        }
    }
    MHD_stop_daemon(http->daemon);
    free(http);
}

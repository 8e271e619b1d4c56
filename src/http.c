/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
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
#include "idempotency.h"
#include "json.h"
#include "log.h"
#include "loop.h"
#include "request_line.h"
#include "store.h"

enum {
    BACKLOG = 128,
    MAX_ANSWER_BYTES = 16 * 1024 * 1024,
    MAX_DRAINED_BYTES = 1024 * 1024,       /* past the limit; dropped, so that the 413 arrives */
    MAX_BUFFERED_BYTES = 64 * 1024 * 1024, /* of bodies that are being read, on a port */
    QUERY_BYTES = 65536
};

/* A gateway, or a load balancer, keeps many connections, and keeps them for longer than others: it
 * has to be the one that closes them, or else a request may cross with the end of its connection.
 */
static const struct {
    unsigned int connections;
    unsigned int idle_timeout_s;
} limits[HTTP_PORTS] = {
    [HTTP_ADMIN_PORT] = {512, 60},
    [HTTP_WEBSOCKET_PORT] = {512, 60},
    [HTTP_BACKEND_PORT] = {4096, 400},
};

/* A libmicrohttpd, and how the loop runs it. */
struct guest {
    struct http *http;
    enum http_port port;
    struct MHD_Daemon *daemon;
    struct watch *watch;
    struct timer *timer;
    struct deferred turn;
    size_t buffered;
};

struct http {
    struct http_env env;
    struct guest guests[HTTP_PORTS];
    struct idempotency *idempotency;
    struct http_request *requests;
    size_t held;          /* requests that somebody works on */
    unsigned int allowed; /* management_allow */
    enum http_port listening;
    int port;
    bool is_stopped;
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
    loop_at_end_of_turn(request->env->loop, &request->http->guests[request->port].turn);
}

void http_answer_message(struct http_request *request, int status, const char *message)
{
    buf_clear(&request->answer);
    json_open(&request->answer, NULL, '{');
    json_str(&request->answer, "message", message);
    json_close(&request->answer, '}');
    http_answer(request, status);
}

void http_answer_error(struct http_request *request, int status, const char *type,
                       const char *message)
{
    request->error_type = type;
    http_answer_message(request, status, message);
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

static void record_management(struct http_request *request, const char *request_id,
                              const char *gateway_id)
{
    const struct http_env *env = request->env;
    struct http_management_record record = {
        .route_key = request->route_key,
        .connection_id = *request->id ? request->id : NULL,
        .request_id = request_id,
        .gateway_id = gateway_id,
        .source_ip = request->source_ip,
        .user_agent = http_header(request, "User-Agent"),
        .caller = request->is_signed ? env->config->management_access_key_id : NULL,
        .status = request->status,
        .request_time_ms = request->started_ms,
    };

    if (env->on_management && request->route_key)
        env->on_management(env->ctx, &record);
}

/* Requests that were refused at the door have no trace. */
static void add_request_ids(struct http_request *request, struct MHD_Response *response)
{
    char request_id[UUID_BYTES];
    char gateway_id[REQUEST_ID_BYTES];
    char trace_id[TRACE_ID_BYTES];

    make_uuid(request_id);
    id_mint_request(gateway_id);
    MHD_add_response_header(response, "x-amzn-RequestId", request_id);
    MHD_add_response_header(response, "x-amz-apigw-id", gateway_id);
    if (request->status != MHD_HTTP_BAD_REQUEST && request->status != MHD_HTTP_FORBIDDEN) {
        trace_id_mint(trace_id, clock_unix_ms());
        MHD_add_response_header(response, "X-Amzn-Trace-Id", trace_id);
    }
    record_management(request, request_id, gateway_id);
}

static void add_headers(struct http_request *request, struct MHD_Response *response)
{
    if (request->content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, request->content_type);
    if (request->error_type)
        MHD_add_response_header(response, "x-amzn-ErrorType", request->error_type);
    if (request->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
    if (request->subprotocol)
        MHD_add_response_header(response, "Sec-WebSocket-Protocol", request->subprotocol);
    if (request->is_function_error)
        MHD_add_response_header(response, "X-Amz-Function-Error", "Unhandled");
    if (request->http->is_stopped)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (request->is_management)
        add_request_ids(request, response);
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
    /* As API Gateway does, also to clients of HTTP/1.1, who need not be told. */
    MHD_set_response_options(response, MHD_RF_SEND_KEEP_ALIVE_HEADER, MHD_RO_END);
    add_headers(request, response);
    result = MHD_queue_response(request->connection, (unsigned int)request->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- requests ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* An IPv4 client of an IPv6 socket is shown as what it is. */
static void note_peer(struct http_request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const union address *address =
        info ? (const union address *)(const void *)info->client_addr : NULL;
    const void *v4 = NULL;

    if (!address)
        return;
    if (address->any.sa_family == AF_INET)
        v4 = &address->v4.sin_addr;
    else if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr))
        v4 = address->v6.sin6_addr.s6_addr + 12;
    if (v4) {
        request->is_loopback = *(const unsigned char *)v4 == IN_LOOPBACKNET;
        (void)inet_ntop(AF_INET, v4, request->source_ip, sizeof(request->source_ip));
    } else if (address->any.sa_family == AF_INET6) {
        request->is_loopback = IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, request->source_ip,
                        sizeof(request->source_ip));
    }
}

/* "http://host/path" is a way to ask for "/path" (RFC 9112, section 3.2.2). */
static const char *path_of(const char *url)
{
    const char *authority = *url == '/' ? NULL : strstr(url, "://");
    const char *path = authority ? strchr(authority + 3, '/') : NULL;

    return path ? path : url;
}

static struct http_request *create_request(struct guest *guest, struct MHD_Connection *connection,
                                           const char *url, const char *method)
{
    struct http_request *request = mem_alloc(sizeof(*request));
    struct http *http = guest->http;

    request->http = http;
    request->env = &http->env;
    request->port = guest->port;
    request->connection = connection;
    request->method = mem_strdup(method);
    request->path = mem_strdup(path_of(url));
    request->started_ms = clock_unix_ms();
    request->allowed = http->allowed;
    request->idempotency = http->idempotency;
    request->content_type = "application/json";
    note_peer(request);
    buf_init(&request->body, guest->port == HTTP_BACKEND_PORT
                                 ? events_body_limit(http->env.config)
                                 : management_body_limit(http->env.config, request->path));
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
    free(request->idempotency_key);
    free(request->subprotocol);
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

const char *http_header(struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct visit {
    http_field_fn *fn;
    void *ctx;
};

static enum MHD_Result visit_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    const struct visit *visit = ctx;

    (void)kind;
    visit->fn(visit->ctx, name, value ? value : "");
    return MHD_YES;
}

void http_each_header(struct http_request *request, http_field_fn *fn, void *ctx)
{
    struct visit visit = {fn, ctx};

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, visit_header, &visit);
}

static enum MHD_Result visit_parameter(void *ctx, enum MHD_ValueKind kind, const char *name,
                                       const char *value)
{
    const struct visit *visit = ctx;
    struct slice raw_name = {name, strlen(name)};
    struct slice raw_value = {value ? value : "", value ? strlen(value) : 0};
    char *text = mem_alloc(raw_name.len + raw_value.len + 2);

    (void)kind;
    if (url_decode(raw_name, true, text) >= 0 &&
        url_decode(raw_value, true, text + raw_name.len + 1) >= 0)
        visit->fn(visit->ctx, text, text + raw_name.len + 1);
    free(text);
    return MHD_YES;
}

void http_each_parameter(struct http_request *request, http_field_fn *fn, void *ctx)
{
    struct visit visit = {fn, ctx};

    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, visit_parameter, &visit);
}

static enum MHD_Result add_signed_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                         const char *value)
{
    struct http_signed *out = ctx;

    (void)kind;
    if (out->request.header_count < HTTP_MAX_REQUEST_HEADERS)
        out->headers[out->request.header_count] = (struct sigv4_header){name, value ? value : ""};
    out->request.header_count++;
    return MHD_YES;
}

/* libmicrohttpd keeps the pairs of a query and not its text; it has made pluses into blanks. */
static enum MHD_Result add_signed_pair(void *ctx, enum MHD_ValueKind kind, const char *name,
                                       const char *value)
{
    struct http_signed *out = ctx;

    (void)kind;
    buf_addf(&out->query, "%s%s=%s", out->query.len ? "&" : "", name, value ? value : "");
    return MHD_YES;
}

bool http_signed_init(struct http_signed *out, struct http_request *request)
{
    out->request = (struct sigv4_request){
        .method = request->method,
        .path = request->path,
        .headers = out->headers,
        .body = request->body.data,
        .body_len = request->body.len,
    };
    buf_init(&out->query, QUERY_BYTES);
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, add_signed_header, out);
    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, add_signed_pair, out);
    out->request.query = buf_str(&out->query);
    return out->request.header_count <= HTTP_MAX_REQUEST_HEADERS && !buf_full(&out->query);
}

void http_signed_done(struct http_signed *signed_request)
{
    buf_done(&signed_request->query);
}

/* ---- the database, and others ---- */

void http_hold(struct http_request *request)
{
    request->is_waiting = true;
    request->http->held++;
}

bool http_resume(struct http_request *request)
{
    request->is_waiting = false;
    request->http->held--;
    if (!request->connection)
        free_request(request);
    else
        return true;
    return false;
}

static void on_database(void *ctx, const struct error *err, const struct rows *rows)
{
    struct http_request *request = ctx;

    if (!http_resume(request))
        return;
    if (err)
        answer_database_error(request, err);
    else
        request->on_rows(request, rows);
}

void http_query(struct http_request *request, const struct store_query *query,
                void (*on_rows)(struct http_request *request, const struct rows *rows))
{
    request->on_rows = on_rows;
    http_hold(request);
    store_call(request->env->store, query, on_database, request);
}

/* ---- libmicrohttpd's callbacks ---- */

/* A client that asked first (RFC 9110, section 10.1.1) is told before it sends. */
static bool is_refused_at_head(struct http_request *request)
{
    const char *length = http_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length && strtoull(length, NULL, 10) > request->body.limit &&
           http_header(request, MHD_HTTP_HEADER_EXPECT);
}

/* What came is kept up to the limit of the request, and dropped up to another one. */
static enum MHD_Result take_body(struct http_request *request, const char *data, size_t *size)
{
    struct guest *guest = &request->http->guests[request->port];
    size_t before = request->body.len;

    request->received += *size;
    if (request->received > request->body.limit + MAX_DRAINED_BYTES)
        return MHD_NO;
    if (guest->buffered + *size > MAX_BUFFERED_BYTES && guest->buffered > request->body.limit)
        return MHD_NO; /* many large ones at once: nobody has to be let in for that */
    buf_add(&request->body, data, *size);
    guest->buffered += request->body.len - before;
    *size = 0;
    return MHD_YES;
}

/* A connection of the WebSocket port is for the management API once its first request was.  What
 * else comes on it, from a proxy that uses it again say, is the listener's: hanging up makes the
 * other side ask anew. */
static bool is_for_listener(const struct http_request *request)
{
    return request->port == HTTP_WEBSOCKET_PORT &&
           request_path_look(request->path) == REQUEST_PATH_OTHER;
}

static enum MHD_Result finish_request(struct http_request *request)
{
    if (request->status == 0 && request->port == HTTP_BACKEND_PORT)
        events_route(request);
    else if (request->status == 0)
        http_route(request);
    if (request->status != 0)
        return send_answer(request);
    request->is_suspended = true;
    MHD_suspend_connection(request->connection);
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
        if (is_for_listener(request))
            return MHD_NO;
        if (!is_refused_at_head(request))
            return MHD_YES;
        request->body.full = true;
    }
    return *size > 0 ? take_body(request, data, size) : finish_request(request);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request_of,
                         enum MHD_RequestTerminationCode why)
{
    struct guest *guest = ctx;
    struct http *http = guest->http;
    struct http_request *request = *request_of;

    (void)connection;
    (void)why;
    if (!request)
        return;
    *request_of = NULL;
    guest->buffered -= request->body.len;
    if (request->prev)
        request->prev->next = request->next;
    else
        http->requests = request->next;
    if (request->next)
        request->next->prev = request->prev;
    request->connection = NULL;
    if (request->is_opened && http->env.on_opened)
        http->env.on_opened(http->env.ctx);
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

static void run(struct guest *guest)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    MHD_run(guest->daemon);
    if (MHD_get_timeout(guest->daemon, &timeout_ms) == MHD_YES)
        loop_timer_set(guest->timer, (int64_t)timeout_ms, 0);
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

/* At the end of the turn, because this may be inside a callback of the listener. */
void http_adopt(struct http *http, int fd)
{
    struct guest *guest = &http->guests[HTTP_WEBSOCKET_PORT];
    union address address;
    socklen_t len = sizeof(address);

    memset(&address, 0, sizeof(address));
    if (getpeername(fd, &address.any, &len) != 0) {
        close(fd);
        return;
    }
    if (MHD_add_connection(guest->daemon, fd, &address.any, len) != MHD_YES)
        log_debug("http.not_adopted", "error=%s", log_quote(strerror(errno))); /* it is closed */
    loop_at_end_of_turn(http->env.loop, &guest->turn);
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
static enum status open_listener(const char *host, int64_t number, int *out, struct error *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    enum status st;
    int rc;

    snprintf(port, sizeof(port), "%u", (unsigned int)number & 0xffff);
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        st = fail(err, UNAVAILABLE, "%s", gai_strerror(rc));
    else
        st = listen_on(found, out, err);
    if (rc == 0)
        freeaddrinfo(found);
    if (st != OK)
        fail_context(err, "cannot listen on %s:%s", host, port);
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

/* fd -1: connections are added, see http_adopt. */
static bool start_guest(struct http *http, enum http_port port, int fd)
{
    struct guest *guest = &http->guests[port];
    struct loop *loop = http->env.loop;
    const union MHD_DaemonInfo *info;
    struct MHD_OptionItem listen[] = {{MHD_OPTION_LISTEN_SOCKET, fd, NULL},
                                      {MHD_OPTION_END, 0, NULL}};
    unsigned int flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;

    if (fd < 0) {
        flags |= MHD_USE_NO_LISTEN_SOCKET;
        listen[0].option = MHD_OPTION_END;
    }
    guest->http = http;
    guest->port = port;
    guest->turn = (struct deferred){.fn = on_time, .ctx = guest};
    guest->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, guest, MHD_OPTION_ARRAY, listen,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, guest, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_encoded, NULL, MHD_OPTION_CONNECTION_LIMIT, limits[port].connections,
        MHD_OPTION_CONNECTION_TIMEOUT, limits[port].idle_timeout_s, MHD_OPTION_END);
    if (!guest->daemon)
        return false;
    info = MHD_get_daemon_info(guest->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    guest->watch = loop_watch(loop, info->epoll_fd, LOOP_READ, on_descriptor, guest);
    guest->timer = loop_timer(loop, 0, 0, on_time, guest);
    return true;
}

static void stop_guest(struct guest *guest)
{
    if (!guest->daemon)
        return;
    loop_undefer(guest->http->env.loop, &guest->turn);
    loop_timer_stop(guest->timer);
    loop_unwatch(guest->watch);
    MHD_stop_daemon(guest->daemon);
}

enum status http_create(const struct http_env *env, struct http **out, struct error *err)
{
    const struct config *config = env->config;
    bool is_backend = env->stateless != NULL;
    unsigned int allowed;
    struct http *http;
    int fd = -1;

    if (management_allow_parse(config->management_allow, &allowed, err) != OK)
        return INVALID;
    if (open_listener(is_backend ? config->backend_address : config->admin_address,
                      is_backend ? config->backend_port : config->admin_port, &fd, err) != OK)
        return UNAVAILABLE;
    http = mem_alloc(sizeof(*http));
    http->env = *env;
    http->allowed = allowed;
    http->port = port_of(fd);
    http->listening = is_backend ? HTTP_BACKEND_PORT : HTTP_ADMIN_PORT;
    http->idempotency = idempotency_create();
    if (!start_guest(http, http->listening, fd)) {
        close(fd);
        http_free(http);
        return fail(err, INTERNAL, "libmicrohttpd did not start");
    }
    if (!is_backend && !start_guest(http, HTTP_WEBSOCKET_PORT, -1)) {
        http_free(http);
        return fail(err, INTERNAL, "libmicrohttpd did not start without a port");
    }
    *out = http;
    return OK;
}

int http_port(const struct http *http)
{
    return http->port;
}

void http_stop(struct http *http)
{
    int fd;

    if (http->is_stopped)
        return;
    http->is_stopped = true;
    fd = MHD_quiesce_daemon(http->guests[http->listening].daemon);
    if (fd >= 0)
        close(fd);
}

bool http_is_idle(const struct http *http)
{
    return !http->requests && http->held == 0;
}

/* libmicrohttpd wants nothing suspended when it stops; it closes the listening socket.  A request
 * that still waits for the database is freed when that answers. */
void http_free(struct http *http)
{
    for (struct http_request *request = http->requests; request; request = request->next) {
        if (request->is_suspended) {
            request->is_suspended = false;
            MHD_resume_connection(request->connection);
        }
    }
    for (size_t i = 0; i < HTTP_PORTS; i++)
        stop_guest(&http->guests[i]);
    idempotency_free(http->idempotency);
    free(http);
}

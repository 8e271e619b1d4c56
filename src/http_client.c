/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client.c - libcurl: requests that block, with its easy interface, and the calls of a pool,
 * with its multi interface as a guest on the loop.
 *
 * A call of the pool is sent once.  libcurl would send it again by itself, whatever its method,
 * when it went out on a connection that had been used before and the server closed that one without
 * a byte of an answer.  Most often the request and the end of an idle connection crossed on the
 * way; but a server that ended after it had done the work looks the same, and would do it twice. So
 * that they seldom cross, connections are used again for less time than servers keep them.
 */
#include "http_client_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

enum {
    HEADER_BYTES = 256,
    CONNECTION_BYTES = 16384, /* libcurl's smallest upload buffer */
    IDLE_SECONDS = 4, /* of a connection that is used again; Node's servers close theirs after 5 */
    /* What libcurl allocates for each call, to read into; the allocator has small ones at hand. */
    SMALL_READ_BYTES = 1024,
    SMALL_ANSWER_BYTES = 16 * 1024,
    OUR_LINES = 3 /* of a request, besides the caller's: see set_headers */
};

static_assert(HTTP_CALL_ERROR_BYTES >= CURL_ERROR_SIZE, "libcurl's texts have to fit");

static void *alloc_array(size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return mem_alloc(bytes);
}

enum status http_client_setup(struct error *err)
{
    CURLcode rc = curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_alloc_raw, free, mem_realloc,
                                       mem_strdup, alloc_array);

    return rc == CURLE_OK ? OK : fail(err, INTERNAL, "libcurl: %s", curl_easy_strerror(rc));
}

void http_client_done(void)
{
    curl_global_cleanup();
}

/* Returning less than was given makes libcurl stop with CURLE_WRITE_ERROR. */
static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct buf *answer = ctx;

    buf_add(answer, data, size * count);
    return buf_full(answer) ? 0 : size * count;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    const struct http_client_request *request = ctx;

    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return request->is_cancelled && atomic_load(request->is_cancelled);
}

/* Instead of the system's, not besides them. */
static void trust(CURL *curl, const char *ca_file)
{
    if (!ca_file || !*ca_file)
        return;
    curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
}

static void set_options(CURL *curl, const struct http_client_request *request, struct buf *answer)
{
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, request->is_local ? "http" : "http,https");
    if (request->is_local)
        curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* http_proxy does not lead to our own port */
    trust(curl, request->ca_file);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "switchboard/" SWITCHBOARD_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, request);
}

/* The list is the caller's to free after the request. */
static struct curl_slist *set_headers_and_body(CURL *curl,
                                               const struct http_client_request *request)
{
    struct curl_slist *headers = NULL;
    char header[HEADER_BYTES];

    for (size_t i = 0; request->headers && request->headers[i]; i++)
        headers = curl_slist_append(headers, request->headers[i]);
    if (request->body) {
        snprintf(header, sizeof(header), "Content-Type: %s",
                 request->content_type ? request->content_type : "application/json");
        headers = curl_slist_append(headers, header);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    return headers;
}

enum status http_client_request(const struct http_client_request *request, struct buf *answer,
                                long *http_status, struct error *err)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers;
    enum status st = OK;
    CURLcode rc;

    if (!curl)
        return fail(err, INTERNAL, "libcurl did not start");
    set_options(curl, request, answer);
    headers = set_headers_and_body(curl, request);
    rc = curl_easy_perform(curl);
    if (buf_full(answer))
        st = fail(err, LIMIT, "%s: the answer is larger than %zu bytes", request->url,
                  answer->limit);
    else if (rc != CURLE_OK)
        st = fail(err, UNAVAILABLE, "%s: %s", request->url, curl_easy_strerror(rc));
    else
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, http_status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return st;
}

/* ---- the request of a call ---- */

#define NAME(text) (text), sizeof(text) - 1

static bool is_name(const char *name, size_t len, const char *wanted, size_t wanted_len)
{
    return len == wanted_len && strncasecmp(name, wanted, len) == 0;
}

/* Those that say where a message ends and what happens to the connection: libcurl's alone. */
static bool is_framing(const char *name, size_t len)
{
    static const struct {
        const char *name;
        size_t len;
    } names[] = {
        {NAME("connection")}, {NAME("content-length")},    {NAME("expect")},
        {NAME("keep-alive")}, {NAME("proxy-connection")},  {NAME("te")},
        {NAME("trailer")},    {NAME("transfer-encoding")}, {NAME("upgrade")},
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (is_name(name, len, names[i].name, names[i].len))
            return true;
    }
    return false;
}

/* Room was made for it. */
static void add_line(struct http_call *call, const char *name, const char *end, const char *value)
{
    struct curl_slist *line = &call->lines[call->line_count++];

    line->data = call->text.data + call->text.len;
    line->next = NULL;
    if (call->line_count > 1)
        line[-1].next = line;
    buf_adds(&call->text, name);
    buf_adds(&call->text, end);
    buf_add(&call->text, value, strlen(value) + 1);
}

static void make_room(struct http_call *call, const struct http_pool_request *request)
{
    size_t count = request->header_count + OUR_LINES;
    size_t bytes = sizeof("Expect:") + sizeof("Accept:") + sizeof("Content-Type:");

    for (size_t i = 0; i < request->header_count; i++)
        bytes +=
            strlen(request->headers[i].name) + strlen(request->headers[i].value) + sizeof(": ");
    call->line_count = 0;
    buf_clear(&call->text);
    if (!buf_reserve(&call->text, bytes))
        abort(); /* it has no limit */
    if (call->line_room >= count)
        return;
    call->lines = mem_realloc(call->lines, count * sizeof(*call->lines));
    call->line_room = count;
}

/* libcurl's notation: "Name;" is a header without a value, "Name:" keeps it from adding its own.
 * The list is made without libcurl's functions, which allocate each line and each link of it. */
static void set_headers(struct http_call *call, const struct http_pool_request *request)
{
    bool has_accept = false;
    bool has_type = !request->body;

    make_room(call, request);
    add_line(call, "Expect:", "", "");
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_pool_header *header = &request->headers[i];
        size_t len = strlen(header->name);

        if (is_framing(header->name, len))
            continue;
        has_accept = has_accept || is_name(header->name, len, NAME("Accept"));
        has_type = has_type || is_name(header->name, len, NAME("Content-Type"));
        if (header->value[strspn(header->value, " \t")] == '\0')
            add_line(call, header->name, ";", "");
        else
            add_line(call, header->name, ": ", header->value);
    }
    if (!has_accept)
        add_line(call, "Accept:", "", "");
    if (!has_type)
        add_line(call, "Content-Type:", "", "");
    curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->lines);
}

/* All that differs from one request to the next; what is set in set_pool_options stays. */
void http_client_set_message(struct http_call *call, const struct http_pool_request *request)
{
    CURL *curl = call->curl;
    bool is_head = strcmp(request->method, "HEAD") == 0;

    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    /* Its answer announces a body and has none. */
    curl_easy_setopt(curl, CURLOPT_NOBODY, is_head ? 1L : 0L);
    if (request->body) {
        buf_add(&call->body, request->body, request->body_len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, buf_str(&call->body));
    } else if (!is_head) { /* the last one may have been a POST */
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, request->is_fresh ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, request->is_fresh ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE,
                     request->max_answer_bytes > SMALL_ANSWER_BYTES ? CURL_MAX_WRITE_SIZE
                                                                    : (long)SMALL_READ_BYTES);
    set_headers(call, request);
}

/* ---- the life of a call ---- */

/* In front of each attempt: there is one.  The type is libcurl's. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static int on_attempt(void *ctx, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    struct http_call *call = ctx;

    (void)peer_ip;
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    call->is_connected = true;
    if (call->is_sent)
        return CURL_PREREQFUNC_ABORT;
    call->is_sent = true;
    return CURL_PREREQFUNC_OK;
}

/* What libcurl watches for the call from now on is not connected yet: on_attempt says when it is.
 */
static int on_new_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    struct http_call *call = ctx;

    (void)fd;
    (void)purpose;
    call->is_connected = false;
    return CURL_SOCKOPT_OK;
}

static int on_close_socket(void *ctx, curl_socket_t fd);

/* CAPATH: with a folder of certificates libcurl would read all of them again for each connection,
 * for which the loop stands still for 20 ms; those of the bundle it keeps.  QUICK_EXIT: a name that
 * is still being looked up when its call ends is left to its thread, not waited for. */
static void set_pool_options(struct http_call *call)
{
    CURL *curl = call->curl;

    curl_easy_setopt(curl, CURLOPT_PRIVATE, call);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &call->answer);
    curl_easy_setopt(curl, CURLOPT_MAXAGE_CONN, (long)IDLE_SECONDS);
    curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, on_attempt);
    curl_easy_setopt(curl, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*"); /* or it looks into the environment each time */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, (long)CONNECTION_BYTES);
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    trust(curl, call->pool->ca_file);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
    curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, call);
    curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, call->pool);
}

void http_client_create_easy(struct http_call *call)
{
    call->curl = curl_easy_init();
    assert(call->curl); /* out of memory aborts: http_client_setup */
    set_pool_options(call);
}

void http_client_free_easy(struct http_call *call)
{
    curl_easy_cleanup(call->curl);
}

void http_client_begin(struct http_call *call, int64_t timeout_ms)
{
    CURLMcode rc;

    curl_easy_setopt(call->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    rc = curl_multi_add_handle(call->pool->multi, call->curl);
    assert(rc == CURLM_OK); /* it is in no other, and no callback of libcurl's calls us */
    (void)rc;
}

void http_client_end(struct http_call *call)
{
    curl_multi_remove_handle(call->pool->multi, call->curl);
}

/* ---- answers ---- */

const char *http_answer_header(const struct http_pool_answer *answer, const char *name)
{
    const struct http_call *call = answer->headers;
    struct curl_header *header = NULL;

    if (!call || curl_easy_header(call->curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    if (header->amount > 1 && curl_easy_header(call->curl, name, header->amount - 1, CURLH_HEADER,
                                               -1, &header) != CURLHE_OK)
        return NULL;
    /* libcurl leaves the CR in one without a value. */
    return header->value[0] == '\r' ? "" : header->value;
}

/* A failed attempt to send may have got some of it through; so may what libcurl counts as sent. */
static enum http_outcome outcome_of(const struct http_call *call, CURLcode rc)
{
    long sent_bytes = 0;

    if (rc == CURLE_OK)
        return HTTP_ANSWERED;
    if (buf_full(&call->answer))
        return HTTP_TOO_LARGE;
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return HTTP_TIMED_OUT;
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return HTTP_BROKEN; /* on_attempt */
    curl_easy_getinfo(call->curl, CURLINFO_REQUEST_SIZE, &sent_bytes);
    return sent_bytes == 0 && rc != CURLE_SEND_ERROR ? HTTP_UNREACHABLE : HTTP_BROKEN;
}

static void finish_open(struct http_call *call, CURLcode rc)
{
    struct http_pool_answer answer = {.error = ""};
    long status = 0;

    curl_multi_remove_handle(call->pool->multi, call->curl);
    answer.outcome = outcome_of(call, rc);
    if (answer.outcome == HTTP_ANSWERED) {
        curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
        answer.status = (int)status;
        answer.body = buf_str(&call->answer);
        answer.body_len = call->answer.len;
        answer.headers = call;
    } else if (answer.outcome == HTTP_TOO_LARGE) {
        answer.error = "the answer is too large";
    } else if (rc == CURLE_ABORTED_BY_CALLBACK) {
        answer.error = "the connection ended without an answer";
    } else {
        answer.error = call->error[0] ? call->error : curl_easy_strerror(rc);
    }
    http_call_finish(call, &answer);
}

/* ---- libcurl on the loop ---- */

/* A descriptor that libcurl wants watched, or that of a connection that waits to be used again.
 * libcurl drops it after each answer and wants the same one with the next request, and to watch one
 * takes several calls of the kernel: so it stays armed, until something comes that nobody waits
 * for, or libcurl closes it.  Only with connections that were established does libcurl say that;
 * the others, and those of its threads that look names up, are unwatched as soon as they are
 * dropped: when the number is used again, by whomever, nothing may be left of them. */
struct socket {
    struct http_pool *pool;
    struct socket *next; /* in its slot */
    struct watch *watch;
    curl_socket_t fd;
    int events;
    bool is_connected;
    bool is_dropped;
};

static void deliver(struct http_pool *pool)
{
    const CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(pool->multi, &left))) {
        CURLcode rc = message->data.result;
        struct http_call *call = NULL;

        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        finish_open(call, rc);
    }
}

/* Where the one with that descriptor is linked; NULL is there when there is none. */
static struct socket **find_socket(struct http_pool *pool, curl_socket_t fd)
{
    struct socket **link = &pool->sockets[(size_t)fd % HTTP_POOL_SOCKET_SLOTS];

    while (*link && (*link)->fd != fd)
        link = &(*link)->next;
    return link;
}

static void free_socket(struct socket **link)
{
    struct socket *socket = *link;

    socket->pool->kept_count -= socket->is_dropped;
    *link = socket->next;
    loop_unwatch(socket->watch);
    free(socket);
}

static void forget_socket(struct http_pool *pool, curl_socket_t fd)
{
    struct socket **link = find_socket(pool, fd);

    if (*link)
        free_socket(link);
}

/* libcurl closes a connection. */
static int on_close_socket(void *ctx, curl_socket_t fd)
{
    forget_socket(ctx, fd);
    return close(fd);
}

static void on_ready(void *ctx, int events)
{
    struct socket *socket = ctx; /* libcurl may end it on the way */
    struct http_pool *pool = socket->pool;
    int ready =
        (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    int running;

    if (socket->is_dropped) { /* libcurl looks at it before it uses it again */
        forget_socket(pool, socket->fd);
        return;
    }
    curl_multi_socket_action(pool->multi, socket->fd, ready, &running);
    deliver(pool);
}

static struct socket *create_socket(struct http_pool *pool, curl_socket_t fd, int events)
{
    struct socket *socket = mem_alloc(sizeof(*socket));
    struct socket **slot = &pool->sockets[(size_t)fd % HTTP_POOL_SOCKET_SLOTS];

    socket->pool = pool;
    socket->fd = fd;
    socket->events = events;
    socket->watch = loop_watch(pool->loop, fd, events, on_ready, socket);
    socket->next = *slot;
    *slot = socket;
    return socket;
}

static void drop_socket(struct socket *socket)
{
    socket->is_dropped = true;
    socket->pool->kept_count++;
    /* One that can be written to would be ready at once. */
    if (!socket->is_connected || socket->events != LOOP_READ)
        forget_socket(socket->pool, socket->fd);
}

/* One that libcurl does not know, or not any more. */
static struct socket *adopt_socket(struct http_pool *pool, curl_socket_t fd, int events)
{
    struct socket *socket = *find_socket(pool, fd);

    if (socket && !socket->is_dropped) { /* closed without a word */
        forget_socket(pool, fd);
        socket = NULL;
    }
    if (!socket) {
        socket = create_socket(pool, fd, events);
    } else {
        socket->is_dropped = false;
        pool->kept_count--;
        pool->begun -= pool->begun > 0;
    }
    curl_multi_assign(pool->multi, fd, socket);
    return socket;
}

/* curl's private pointer is NULL when it is libcurl's own, which closes connections. */
static int on_socket(CURL *curl, curl_socket_t fd, int what, void *ctx, void *assigned)
{
    struct socket *socket = assigned;
    const struct http_call *call = NULL;
    int events = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);

    if (what == CURL_POLL_REMOVE) {
        if (socket)
            drop_socket(socket);
        return 0;
    }
    if (!socket)
        socket = adopt_socket(ctx, fd, events);
    if (socket->events != events)
        loop_watch_set(socket->watch, events);
    socket->events = events;
    curl_easy_getinfo(curl, CURLINFO_PRIVATE, &call);
    socket->is_connected = call && call->is_connected;
    return 0;
}

/* It wants to be called after so long, and not from here.  -1: no more; once too often does no
 * harm.  With answers that come at once it wants 0 again and again: the timer starts at the end of
 * the turn, because one that starts among timers runs among them, and descriptors would starve. */
static int on_timer_wanted(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_pool *pool = ctx;

    (void)multi;
    pool->wanted_ms = timeout_ms;
    pool->is_timer_wanted = true;
    loop_at_end_of_turn(pool->loop, &pool->set_timer);
    return 0;
}

static void on_timeout(void *ctx)
{
    struct http_pool *pool = ctx;
    int running;

    curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    pool->begun = 0;
    deliver(pool);
    http_pool_open_waiting(pool);
}

/* Calls that were left for the next turn come first: libcurl says again what it wants after it was
 * called for nothing. */
static void set_timer(void *ctx)
{
    struct http_pool *pool = ctx;
    bool is_for_turn = http_pool_has_turn(pool) && pool->waiting.first;
    int64_t delay_ms = is_for_turn ? 0 : pool->wanted_ms;

    if (!is_for_turn && (!pool->is_timer_wanted || delay_ms < 0))
        return;
    pool->is_timer_wanted = false;
    if (pool->timer)
        loop_timer_set(pool->timer, delay_ms, 0);
    else
        pool->timer = loop_timer(pool->loop, delay_ms, 0, on_timeout, pool);
}

void http_client_create_multi(struct http_pool *pool)
{
    pool->set_timer = (struct deferred){.fn = set_timer, .ctx = pool};
    pool->multi = curl_multi_init();
    assert(pool->multi);
    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
    curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
    curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    /* Otherwise it keeps four times as many as there are calls, so few when it is quiet. */
    curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_POOL_MAX_CALLS);
}

void http_client_free_multi(struct http_pool *pool)
{
    curl_multi_cleanup(pool->multi);
    for (size_t i = 0; i < HTTP_POOL_SOCKET_SLOTS; i++)
        while (pool->sockets[i]) /* none, if libcurl has told of all it closed */
            free_socket(&pool->sockets[i]);
    loop_undefer(pool->loop, &pool->set_timer);
    loop_timer_stop(pool->timer);
}

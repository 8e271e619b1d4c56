/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client_internal.h - what the files of the HTTP client share.
 *
 * http_client.c: libcurl, which only that file includes.  http_client_pool.c: the calls of a pool
 * and whose turn it is.
 */
#pragma once

#include "buf.h"
#include "http_client.h"
#include "loop.h"

struct curl_slist;
struct socket;

enum {
    HTTP_POOL_MAX_CALLS = 1024,
    HTTP_POOL_SOCKET_SLOTS = 256,
    HTTP_CALL_ERROR_BYTES = 256 /* of a text of libcurl's */
};

struct call_list {
    struct http_call *first;
    struct http_call **last; /* where the next one is linked */
    size_t count;
};

/* In one list at a time, and in none while done runs. */
struct http_call {
    struct http_pool *pool;
    struct call_list *list;
    struct http_call *next;
    struct http_call **link;
    void *curl;               /* libcurl's handle */
    struct curl_slist *lines; /* the headers of the request; their text is in `text` */
    size_t line_count;
    size_t line_room;
    struct buf text;
    struct buf body; /* of the request */
    struct buf answer;
    char error[HTTP_CALL_ERROR_BYTES];
    http_pool_done *done;
    void *ctx;
    int64_t deadline_ms;
    struct timer *timer; /* only while waiting: libcurl keeps the time of open calls */
    bool is_sent;        /* the request was begun on a connection */
    bool is_connected;   /* what libcurl watches for it is that connection */
    uint64_t roots;      /* the pool's of that time */
};

struct http_pool {
    struct loop *loop;
    void *multi;               /* libcurl's, with those of the open calls */
    struct timer *timer;       /* libcurl's; NULL until it asks for one */
    struct deferred set_timer; /* for libcurl, and for those that wait for the next turn */
    bool is_timer_wanted;
    int64_t wanted_ms;
    struct call_list waiting;
    struct call_list open; /* libcurl has them */
    struct call_list idle;
    size_t max_calls;
    size_t begun;      /* calls of this turn that have no connection yet, about */
    size_t kept_count; /* connections that wait to be used again: dropped sockets */
    char *ca_file;     /* NULL or "": the system's */
    uint64_t roots;    /* how often that changed */
    bool is_delivering;
    struct socket *sockets[HTTP_POOL_SOCKET_SLOTS]; /* by descriptor; http_client.c's */
};

/* ---- http_client.c ---- */

/* libcurl's handle of a call, with the options that stay from one request to the next. */
void http_client_create_easy(struct http_call *call);
void http_client_free_easy(struct http_call *call);
void http_client_set_message(struct http_call *call, const struct http_pool_request *request);
/* Gives it to libcurl; http_call_finish comes, later.  timeout_ms 0: none. */
void http_client_begin(struct http_call *call, int64_t timeout_ms);
/* Takes it back. */
void http_client_end(struct http_call *call);

/* libcurl on the pool's loop. */
void http_client_create_multi(struct http_pool *pool);
/* No call is open any more. */
void http_client_free_multi(struct http_pool *pool);

/* ---- http_client_pool.c ---- */

static inline bool http_pool_has_turn(const struct http_pool *pool)
{
    return pool->open.count < pool->max_calls;
}

/* Begins those whose turn it is; the next turn goes on with the others. */
void http_pool_open_waiting(struct http_pool *pool);
/* libcurl does not have it any more.  Calls its done, and then it is no more. */
void http_call_finish(struct http_call *call, const struct http_pool_answer *answer);

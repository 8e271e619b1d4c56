/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rejection.h - the answer to a request that does not become a WebSocket.
 */
#pragma once

#include "base.h"

struct buf;
struct config;
struct http_head;

struct rejection {
    int status;
    const char *body;
    bool is_final;             /* what follows on this socket could not be made sense of */
    const char *server;        /* or NULL */
    const char *content_type;  /* NULL: JSON */
    const char *request_id;    /* or NULL */
    const char *extra_headers; /* or NULL */
};

extern const struct rejection rejection_too_slow;
extern const struct rejection rejection_too_large; /* the head */
extern const struct rejection rejection_too_many;  /* handshakes under way */
/* Of what is no HTTP. */
const struct rejection *rejection_of_malformed(const struct config *config) MUST_USE;
/* Of a head that asks for no WebSocket that we speak (RFC 6455, section 4.2.1); NULL when there is
 * nothing to object to. */
const struct rejection *rejection_of_head(const struct config *config,
                                          const struct http_head *head) MUST_USE;

/* Whether what is behind the head is the next request: there is no body, and nobody wants to close.
 */
bool head_may_be_followed(const struct http_head *head);

/* Begins out and writes head and body.  keeps_open: another request may come on this socket, unless
 * the rejection is final. */
void rejection_write(const struct rejection *rejection, bool keeps_open, struct buf *out);

enum { HTTP_DATE_BYTES = 30 };
void http_date_write(char date[HTTP_DATE_BYTES]); /* now */

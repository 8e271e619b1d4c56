/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.h - the modes of the reference server, and the handshake that some of them have.
 */
#pragma once

#include "server.h"

extern const struct server_handler reference_echo;
extern const struct server_handler reference_fanout;
extern const struct server_handler reference_sink;
extern const struct server_handler reference_invoke;

/* Of sink and invoke. */
uint64_t reference_request_count(void);

/* ---- reference_handshake.c ---- */

struct http_head;

enum { HANDSHAKE_ANSWER_BYTES = 160 };

/* False when the head is not complete; closes the peer when it never will be a handshake. */
bool handshake_read(struct server_peer *peer, const char *data, size_t len,
                    struct http_head *out) MUST_USE;
/* The 101 for that request; returns its length. */
size_t handshake_answer(const struct http_head *head, char out[HANDSHAKE_ANSWER_BYTES]);

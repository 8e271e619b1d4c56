/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_auth.h - the token of a handshake, and what its claims become in events.
 */
#pragma once

#include "buf.h"
#include "http_head.h"

struct auth;

/* Where a client may put its token, the first of these that is there and not empty: ?token=, the
 * last one; Authorization: Bearer; the subprotocol behind "bearer", for browsers, which cannot set
 * headers. */
struct gateway_token {
    char *text;         /* yours to free; NULL: none */
    bool offers_bearer; /* the client wants the subprotocol "bearer" to be chosen */
};
void gateway_find_token(const struct http_head *head, struct gateway_token *out);

/* The claims of the token in a message's "token" member, when there is one and it is good: OK.
 * DENIED: there is none, or it is not good.  UNAVAILABLE: its key is being fetched. */
enum status gateway_verify_message(struct auth *auth, const char *text, size_t len,
                                   struct buf *claims) MUST_USE;

/* Adds requestContext.authorizer for the claims of a token (JSON object text): as API Gateway has
 * it, values are texts; arrays and objects become their JSON, nulls are left out, and principalId
 * is sub or userId.  Returns exp in Unix seconds, 0 when the token has none. */
int64_t gateway_write_authorizer(const char *claims, size_t len, struct buf *out);

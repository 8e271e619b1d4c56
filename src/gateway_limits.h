/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_limits.h - the rate limits of this node: per connection, user, route, and of the stage,
 * the account and new connections.
 *
 * In memory, so each node has its own.  A bucket of a user is kept while it is not full; a
 * connection's is in the connection; a route's is shared by everybody, as API Gateway's is.
 */
#pragma once

#include "base.h"

struct config;
struct connection;
struct gateway_limits;
struct profile_settings;

struct gateway_limits *gateway_limits_create(void) MUST_USE;
void gateway_limits_free(struct gateway_limits *limits);

/* Takes over the rates; INVALID names the setting that is wrong, and all stay as they were. */
enum status gateway_limits_set(struct gateway_limits *limits, const struct config *config,
                               const struct profile_settings *settings, struct error *err) MUST_USE;

/* Anything: false when the account has too many of all together. */
bool gateway_limits_take_account(struct gateway_limits *limits) MUST_USE;
/* A message: false when the account or the stage has too many of all together. */
bool gateway_limits_take_all(struct gateway_limits *limits) MUST_USE;
/* A handshake: the same, and there may be too many of those alone. */
bool gateway_limits_take_connect(struct gateway_limits *limits) MUST_USE;
/* A message: 0, or after how many seconds this client may send the next one. */
int64_t gateway_limits_take(struct gateway_limits *limits, struct connection *connection,
                            const char *route_key) MUST_USE;

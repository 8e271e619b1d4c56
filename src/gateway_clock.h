/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_clock.h - what time does to connections: idle time-out, maximum duration, pings,
 * touching.
 *
 * One coarse timer wheel instead of a timer per connection: a connection is looked at when its
 * deadline may have come, and put back when activity has moved it.  Touches are collected and
 * handed to the backend once per touch_interval_ms, one per connection.
 */
#pragma once

#include "base.h"

struct backend;
struct config;
struct connection;
struct gateway_clock;
struct loop;
struct profile_settings;

/* backend NULL: there are no rows to touch. */
struct gateway_clock *gateway_clock_create(struct loop *loop, const struct config *config,
                                           const struct profile_settings *settings,
                                           struct backend *backend) MUST_USE;
void gateway_clock_free(struct gateway_clock *clock);
void gateway_clock_add(struct gateway_clock *clock, struct connection *connection);
void gateway_clock_remove(struct gateway_clock *clock, struct connection *connection);
/* A message came in: moves last activity and has the row touched. */
void gateway_clock_touch(struct gateway_clock *clock, struct connection *connection);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_internal.h - what gateway.c and gateway_handshake.c share.
 */
#pragma once

#include "gateway.h"
#include "loop.h"

struct gateway_clock;
struct gateway_limits;
struct handshake;
struct route_expression;

enum { GATEWAY_FRAME_BYTES = 512, GATEWAY_CLAIMS_BYTES = 64 * 1024 };

struct gateway {
    struct gateway_env env;
    struct route_expression *selection;
    struct gateway_limits *limits;
    struct gateway_clock *clock;
    bool is_accepting;
    bool is_keyless_logged;
    struct handshake *held;   /* until keys have been fetched */
    struct connection *ended; /* to be freed at the end of the turn, linked by ended_next */
    struct deferred deferred;
};

/* gateway.c: the connection is freed at the end of the turn. */
void gateway_end_connection(struct gateway *gateway, struct connection *connection);
/* The same, when the socket is gone and every message is answered; $disconnect runs. */
void gateway_end_when_answered(struct gateway *gateway, struct connection *connection);

/* gateway_handshake.c: those that wait for keys get 503, */
void gateway_turn_away_held(struct gateway *gateway);
/* or nothing, because whoever asked is gone. */
void gateway_free_held(struct gateway *gateway);

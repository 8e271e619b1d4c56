/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_resume.h - ?resume={"room:general":1234} of a handshake.
 */
#pragma once

#include "http_head.h"

struct connection;
struct replays;

/* Has the replay expect what the client names (replay_expect).  Whether it may have that, and what
 * it is told otherwise, the database says when it registers the connection. */
void gateway_expect_resume(struct replays *replays, struct connection *connection,
                           const struct http_head *head);

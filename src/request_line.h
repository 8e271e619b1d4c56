/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_line.h - is a request to the WebSocket port for the management API?
 *
 * The listener asks before it reads anything, with what has come so far; handshakes stay its own.
 */
#pragma once

#include "base.h"

enum request_line {
    REQUEST_LINE_UNDECIDED, /* more of it has to come first */
    REQUEST_LINE_HANDSHAKE, /* or anything else that is no management request */
    REQUEST_LINE_MANAGEMENT /* the first or second segment of the path is @connections or @send */
};

/* The same about a path alone, all of it; raw, and without the query. */
enum request_path { REQUEST_PATH_OTHER, REQUEST_PATH_CONNECTIONS, REQUEST_PATH_SEND };
enum request_path request_path_look(const char *path) MUST_USE;

/* The segment may be percent-encoded; the target may be a whole URL. */
enum request_line request_line_look(const char *data, size_t len) MUST_USE;

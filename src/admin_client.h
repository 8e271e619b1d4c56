/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_client.h - asks the admin port of a running node; blocking, for commands (libcurl inside).
 */
#pragma once

#include "buf.h"

/* Once per process, before the first request: libcurl aborts rather than runs out of memory. */
enum status admin_client_setup(struct error *err) MUST_USE;
void admin_client_done(void);

/* GET, or POST with a JSON body when body is not NULL.  OK when there was an answer, whatever its
 * status; the answer's body is added to answer, up to its limit. */
enum status admin_client_request(const char *url, const char *body, int64_t timeout_ms,
                                 struct buf *answer, long *http_status, struct error *err) MUST_USE;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log.h - one line for each event, in the format of API Gateway's access logs.
 *
 *   $context.identity.sourceIp [$context.requestTime] "$context.eventType $context.routeKey" ...
 *
 * What is unset or unknown prints "-".  Values of JSON formats are escaped: a value stands between
 * quotes of the format, and a client must not be able to end them or the line.
 */
#pragma once

#include "request_context.h"

struct access_log;
struct loop;

/* file: a path that is appended to, or "-" for standard output.  INVALID: the format has a
 * reference that is not $context.<name>, or is larger than 3 KB; UNAVAILABLE: the file cannot be
 * opened. */
enum status access_log_create(struct loop *loop, const char *format, const char *file,
                              struct access_log **out, struct error *err) MUST_USE;
void access_log_free(struct access_log *log); /* writes what is left; NULL is allowed */
/* Collected, and written at the end of the turn in as few writes as possible. */
void access_log_write(struct access_log *log, const struct request_context *context);
/* Opens the file again (SIGHUP, after logrotate); keeps the old one when that fails. */
void access_log_reopen(struct access_log *log);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log.h - one line for each event, in the format of API Gateway's access logs.
 *
 *   $context.identity.sourceIp [$context.requestTime] "$context.eventType $context.routeKey" ...
 *
 * What is unset or unknown prints "-".  A value stands between quotes of the format, and a client
 * must not be able to end them, or the line.  How values are escaped follows from how the format
 * begins:
 *   {  JSON   as inside a JSON string; what is not UTF-8 becomes U+FFFD
 *   <  XML    & < > " ' as references (&#38;), control characters as a blank
 *   else      " and \ and control characters and what is not UTF-8 as \xNN
 * A value is cut at 1,024 bytes: the client's User-Agent may be as long as the head of a request,
 * and is written again for every message.
 */
#pragma once

#include "request_context.h"

struct access_log;
struct loop;

/* file: a path that is appended to, or "-" for standard output.  INVALID: the format has a
 * reference that is not $context.<name>, has more than one line, is empty or larger than 3 KB;
 * UNAVAILABLE: the file cannot be opened. */
enum status access_log_create(struct loop *loop, const char *format, const char *file,
                              struct access_log **out, struct error *err) MUST_USE;
void access_log_free(struct access_log *log); /* writes what is left; NULL is allowed */
/* Collected, and written at the end of the turn in as few writes as possible.  What cannot be
 * written (the disk is full, nobody reads the pipe) is kept up to 4 MiB and tried again; lines past
 * that are lost, and counted in the log once it goes on. */
void access_log_write(struct access_log *log, const struct request_context *context);
/* Opens the file again (SIGHUP, after logrotate); keeps the old one when that fails. */
void access_log_reopen(struct access_log *log);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line, one event, on standard error: logfmt or JSON.
 *
 *   log_info("connection.open", "connection=c-%u stage=%s", ordinal, stage)
 *   ts=2026-11-21T02:33:01.123Z level=info event=connection.open connection=c-17 stage=dev
 *
 * The format makes logfmt pairs (key=value, values with blanks quoted by log_quote); the JSON
 * writer turns the same pairs into members.  No secrets, no message bodies, no pointers.
 */
#pragma once

#include "base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format {
    LOG_LOGFMT,
    LOG_JSON,
    LOG_LAMBDA /* JSON with the names that AWS Lambda's log filter knows */
};

/* Process-wide, set once by main. */
void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
/* Of the invocation that runs, for LOG_LAMBDA; copied; NULL: none. */
void log_set_request_id(const char *request_id);

/* One write(2) per line.  Control characters and quotes in values are escaped. */
void log_line(enum log_level level, const char *event, const char *fmt, ...) PRINTF(3, 4);

#define log_error(event, ...) log_line(LOG_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_line(LOG_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_line(LOG_INFO, event, __VA_ARGS__)
#define log_debug(event, ...)                                                                      \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_line(LOG_DEBUG, event, __VA_ARGS__);                                               \
    } while (0)

/* A value for a logfmt pair: quoted when it has blanks, quotes, '=' or control characters, cut at
 * 200 bytes.  Borrowed from a ring of 8 thread-local slots, so up to 8 fit into one call. */
const char *log_quote(const char *value);

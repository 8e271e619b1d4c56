/* SPDX-License-Identifier: Apache-2.0 */
/*
 * messages.h - typed messages {"type", "payload", "timestamp"}, the timestamp in Unix milliseconds.
 *
 * The constructors of sql/functions/110_messages_types.sql for C: same members, same order of
 * arguments.  Each appends one JSON value.
 */
#pragma once

#include "buf.h"

enum message_level { MESSAGE_INFO, MESSAGE_WARNING, MESSAGE_ERROR };

enum { MESSAGE_NO_RETRY_AFTER = -1 };

/* retrieved_chunks: JSON text, [{"documentName", "pageNumber", "text"}], or NULL for none. */
void message_write_chat_response(struct buf *out, const char *message_id, const char *content,
                                 bool is_complete, const char *retrieved_chunks);
void message_write_typing_indicator(struct buf *out, bool is_typing);
/* retry_after in seconds, or MESSAGE_NO_RETRY_AFTER. */
void message_write_error(struct buf *out, const char *code, const char *message, bool is_retryable,
                         int64_t retry_after);
void message_write_system(struct buf *out, const char *message, enum message_level level);

/* "info", "warning" or "error"; false for anything else. */
bool message_parse_level(const char *text, enum message_level *out) MUST_USE;

/* SPDX-License-Identifier: Apache-2.0 */
#include "messages.h"

#include <string.h>

#include "json.h"

static const char *const levels[] = {
    [MESSAGE_INFO] = "info", [MESSAGE_WARNING] = "warning", [MESSAGE_ERROR] = "error"};

static void begin(struct buf *out, const char *type)
{
    json_open(out, NULL, '{');
    json_str(out, "type", type);
    json_open(out, "payload", '{');
}

static void end(struct buf *out)
{
    json_close(out, '}');
    json_int(out, "timestamp", clock_unix_ms());
    json_close(out, '}');
}

void message_write_chat_response(struct buf *out, const char *message_id, const char *content,
                                 bool is_complete, const char *retrieved_chunks)
{
    begin(out, "chat_response");
    json_str(out, "messageId", message_id);
    json_str(out, "content", content);
    json_bool(out, "isComplete", is_complete);
    if (retrieved_chunks)
        json_raw(out, "retrievedChunks", retrieved_chunks, strlen(retrieved_chunks));
    end(out);
}

void message_write_typing_indicator(struct buf *out, bool is_typing)
{
    begin(out, "typing_indicator");
    json_bool(out, "isTyping", is_typing);
    end(out);
}

void message_write_error(struct buf *out, const char *code, const char *message, bool is_retryable,
                         int64_t retry_after)
{
    begin(out, "error");
    json_str(out, "code", code);
    json_str(out, "message", message);
    json_bool(out, "retryable", is_retryable);
    if (retry_after >= 0)
        json_int(out, "retryAfter", retry_after);
    end(out);
}

void message_write_system(struct buf *out, const char *message, enum message_level level)
{
    begin(out, "system");
    json_str(out, "message", message);
    json_str(out, "level", levels[level]);
    end(out);
}

bool message_parse_level(const char *text, enum message_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (strcmp(levels[i], text) == 0) {
            *out = (enum message_level)i;
            return true;
        }
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - one line, one event, on standard error.
 *
 * Callers write logfmt pairs; the JSON form is made from the same pairs, so that both always say
 * the same.  The only mutable global of the program is here: level and format, set once by main,
 * and in a Lambda the id of the invocation that runs.
 */
#include "log.h"

#include "buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PREFIX_BYTES = 512, PAIRS_BYTES = 4096, VALUE_BYTES = 200, QUOTE_SLOTS = 8 };

static struct {
    enum log_level level;
    enum log_format format;
    char request_id[64];
} settings = {LOG_INFO, LOG_LOGFMT, ""};

void log_setup(enum log_level level, enum log_format format)
{
    settings.level = level;
    settings.format = format;
}

bool log_enabled(enum log_level level)
{
    return level >= settings.level;
}

void log_set_request_id(const char *request_id)
{
    snprintf(settings.request_id, sizeof(settings.request_id), "%s", request_id ? request_id : "");
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    }
    return "unknown";
}

/* Lambda's spelling: it filters by level, and takes a line whose time it does not find for INFO. */
static const char *lambda_level_name(enum log_level level)
{
    static const char *const names[] = {
        [LOG_DEBUG] = "DEBUG", [LOG_INFO] = "INFO", [LOG_WARN] = "WARN", [LOG_ERROR] = "ERROR"};

    return names[level];
}

static void add_time(struct buf *line)
{
    int64_t now_ms = clock_unix_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;

    gmtime_r(&seconds, &utc);
    buf_addf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (int)(now_ms % 1000));
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* A control character would break the line, or the terminal of whoever reads it.  The escapes are
 * those of JSON, so a quoted value is a JSON string as it stands. */
static void add_control(struct buf *line, char c)
{
    if (c == '\n')
        buf_adds(line, "\\n");
    else if (c == '\r')
        buf_adds(line, "\\r");
    else if (c == '\t')
        buf_adds(line, "\\t");
    else
        buf_addf(line, "\\u%04x", (unsigned)(unsigned char)c);
}

/* One character as it is, or '?' where it is not UTF-8 (header values may be anything); returns how
 * many bytes of the text that was. */
static size_t add_char(struct buf *line, const char *text, size_t len)
{
    size_t char_len = utf8_char_len(text, len);

    if (char_len == 0) {
        buf_addc(line, '?');
        return 1;
    }
    if (char_len == 1 && is_control(*text))
        add_control(line, *text);
    else
        buf_add(line, text, char_len);
    return char_len;
}

static void add_logfmt(struct buf *line, const char *pairs)
{
    for (size_t i = 0, len = strlen(pairs); i < len;)
        i += add_char(line, pairs + i, len - i);
}

/* ---- the JSON form ---- */

/* True for what JSON calls a number and a double holds exactly. */
static bool is_plain_integer(const char *text, size_t len)
{
    size_t digits = len;

    if (len && *text == '-') {
        text++;
        digits--;
    }
    if (digits == 0 || digits > 15 || (*text == '0' && digits > 1))
        return false;
    return strspn(text, "0123456789") >= digits;
}

static size_t add_json_char(struct buf *line, const char *text, size_t len)
{
    if (*text == '"' || *text == '\\')
        buf_addc(line, '\\');
    return add_char(line, text, len);
}

static void add_json_text(struct buf *line, const char *text, size_t len)
{
    buf_addc(line, '"');
    for (size_t i = 0; i < len;)
        i += add_json_char(line, text + i, len - i);
    buf_addc(line, '"');
}

/* The length of an escape of ours at text, 0 when it is none. */
static size_t escape_len(const char *text)
{
    if (text[0] != '\\')
        return 0;
    if (text[1] == 'u')
        return strspn(text + 2, "0123456789abcdef") >= 4 ? 6 : 0;
    return text[1] && strchr("\"\\nrt", text[1]) ? 2 : 0;
}

/* Copies a quoted value, whose escapes are JSON's already, and returns what stands behind it. */
static const char *add_json_quoted(struct buf *line, const char *text)
{
    buf_addc(line, '"');
    for (text++; *text && *text != '"';) {
        size_t len = escape_len(text);

        if (len)
            buf_add(line, text, len);
        else
            len = add_json_char(line, text, strlen(text));
        text += len;
    }
    buf_addc(line, '"');
    return *text ? text + 1 : text;
}

/* One key=value, or a word that is none, as members; returns what stands behind it. */
static const char *add_json_pair(struct buf *line, const char *pair)
{
    size_t word_len = strcspn(pair, " ");
    size_t key_len = strcspn(pair, " =");
    const char *value = pair + key_len + 1;

    if (key_len == word_len) {
        buf_adds(line, ",\"text\":");
        add_json_text(line, pair, strlen(pair));
        return pair + strlen(pair);
    }
    buf_addc(line, ',');
    add_json_text(line, pair, key_len);
    buf_addc(line, ':');
    if (*value == '"')
        return add_json_quoted(line, value);
    if (is_plain_integer(value, word_len - key_len - 1))
        buf_add(line, value, word_len - key_len - 1);
    else
        add_json_text(line, value, word_len - key_len - 1);
    return pair + word_len;
}

static void add_json_pairs(struct buf *line, const char *pairs)
{
    for (pairs += strspn(pairs, " "); *pairs; pairs += strspn(pairs, " "))
        pairs = add_json_pair(line, pairs);
}

/* ---- lines ---- */

static void write_line(struct buf *line)
{
    ssize_t n;

    do
        n = write(STDERR_FILENO, line->data, line->len);
    while (n < 0 && errno == EINTR);
}

/* An id from outside: only what needs no escaping. */
static bool is_plain_id(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e || *text == '"' || *text == '\\')
            return false;
    return true;
}

static void add_json_line(struct buf *line, enum log_level level, const char *event,
                          const char *pairs)
{
    buf_adds(line, "{\"ts\":\"");
    add_time(line);
    buf_addf(line, "\",\"level\":\"%s\",\"event\":\"%s\"", level_name(level), event);
    add_json_pairs(line, pairs);
    buf_adds(line, "}\n");
}

static void add_lambda_line(struct buf *line, enum log_level level, const char *event,
                            const char *pairs)
{
    buf_adds(line, "{\"timestamp\":\"");
    add_time(line);
    buf_addf(line, "\",\"level\":\"%s\",\"event\":\"%s\"", lambda_level_name(level), event);
    if (settings.request_id[0] && is_plain_id(settings.request_id))
        buf_addf(line, ",\"requestId\":\"%s\"", settings.request_id);
    add_json_pairs(line, pairs);
    buf_adds(line, "}\n");
}

static void add_logfmt_line(struct buf *line, enum log_level level, const char *event,
                            const char *pairs)
{
    buf_adds(line, "ts=");
    add_time(line);
    buf_addf(line, " level=%s event=%s%s", level_name(level), event, *pairs ? " " : "");
    add_logfmt(line, pairs);
    buf_addc(line, '\n');
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    char pairs[PAIRS_BYTES];
    struct buf line;
    va_list args;

    if (!log_enabled(level))
        return;
    va_start(args, fmt);
    vsnprintf(pairs, sizeof(pairs), fmt, args);
    va_end(args);
    /* Six bytes for each of the pairs' at worst: the line always fits. */
    buf_init(&line, PREFIX_BYTES + sizeof(pairs) * 6);
    switch (settings.format) {
    case LOG_LOGFMT:
        add_logfmt_line(&line, level, event, pairs);
        break;
    case LOG_JSON:
        add_json_line(&line, level, event, pairs);
        break;
    case LOG_LAMBDA:
        add_lambda_line(&line, level, event, pairs);
        break;
    }
    write_line(&line);
    buf_done(&line);
}

static bool needs_quotes(const char *value)
{
    if (!*value)
        return true;
    for (; *value; value++) {
        if (is_control(*value) || strchr(" \"=\\", *value))
            return true;
    }
    return false;
}

const char *log_quote(const char *value)
{
    static _Thread_local char slots[QUOTE_SLOTS][VALUE_BYTES * 6 + 8];
    static _Thread_local unsigned next;
    char *slot = slots[next++ % QUOTE_SLOTS];
    size_t len;
    bool is_cut;
    struct buf out;

    if (!value)
        return "-";
    len = strnlen(value, VALUE_BYTES + 1);
    is_cut = len > VALUE_BYTES;
    if (!is_cut && !needs_quotes(value)) {
        memcpy(slot, value, len + 1);
        return slot;
    }
    if (is_cut) {
        len = VALUE_BYTES;
        while (len && ((unsigned char)value[len] & 0xC0) == 0x80) /* not inside a character */
            len--;
    }
    buf_init(&out, sizeof(slots[0]) - 1);
    add_json_text(&out, value, len);
    if (is_cut) {
        out.len--;
        buf_adds(&out, "...\"");
    }
    memcpy(slot, buf_str(&out), out.len + 1);
    buf_done(&out);
    return slot;
}

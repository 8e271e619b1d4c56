/* SPDX-License-Identifier: Apache-2.0 */
#include "pg_errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

enum { SQLSTATE_LEN = 5 };

/* "FATAL:  28P01: password authentication failed": whether this is what begins at the colon behind
 * the severity, a word that the server has translated. */
static bool is_sqlstate(const char *text)
{
    return strncmp(text, ":  ", 3) == 0 &&
           strspn(text + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == SQLSTATE_LEN &&
           strncmp(text + 3 + SQLSTATE_LEN, ": ", 2) == 0;
}

/* "LOCATION:  auth_failed, auth.c:323"; the first word is translated, too. */
static bool is_location(const char *line, size_t len)
{
    const char *value = memmem(line, len, ":  ", 3);
    size_t digits = 0;

    if (!value || !memmem(value, len - (size_t)(value - line), ", ", 2))
        return false;
    while (digits < len && line[len - 1 - digits] >= '0' && line[len - 1 - digits] <= '9')
        digits++;
    return digits > 0 && len > digits + 3 && memcmp(line + len - digits - 3, ".c:", 3) == 0;
}

static void start_line(struct buf *out)
{
    if (out->len)
        buf_addc(out, ' ');
}

static void add_refusal(struct buf *out, const char *line, size_t len,
                        char sqlstate[SQLSTATE_LEN + 1])
{
    start_line(out);
    while (len > 0) {
        buf_addc(out, *line);
        if (is_sqlstate(line)) {
            snprintf(sqlstate, SQLSTATE_LEN + 1, "%.*s", SQLSTATE_LEN, line + 3);
            line += 3 + SQLSTATE_LEN; /* what is behind it begins with a colon, too */
            len -= 3 + SQLSTATE_LEN;
        }
        line++;
        len--;
    }
}

static const char *line_end(const char *text)
{
    return text + strcspn(text, "\n");
}

enum status pg_fail(struct error *err, enum status status, const char *text)
{
    struct buf out;

    buf_init(&out, ERROR_TEXT_BYTES * 2);
    for (const char *end; *text; text = end + (*end == '\n')) {
        end = line_end(text);
        if (end == text || *text == '\t')
            continue;
        start_line(&out);
        buf_add(&out, text, (size_t)(end - text));
    }
    fail(err, status, "%s", buf_str(&out));
    buf_done(&out);
    return status;
}

enum status pg_fail_refused(struct error *err, enum status status, const char *text)
{
    char sqlstate[SQLSTATE_LEN + 1] = "";
    struct buf out;

    buf_init(&out, ERROR_TEXT_BYTES * 2);
    for (const char *end; *text; text = end + (*end == '\n')) {
        end = line_end(text);
        if (end != text && *text != '\t' && !is_location(text, (size_t)(end - text)))
            add_refusal(&out, text, (size_t)(end - text), sqlstate);
    }
    fail(err, status, "%s", buf_str(&out));
    if (err)
        memcpy(err->sqlstate, sqlstate, sizeof(sqlstate));
    buf_done(&out);
    return status;
}

enum status pg_status_of_sqlstate(const char *sqlstate)
{
    static const struct {
        const char *prefix;
        enum status status;
    } table[] = {
        {"08", UNAVAILABLE}, {"53", UNAVAILABLE}, {"57014", LIMIT}, {"57P", UNAVAILABLE},
        {"58", UNAVAILABLE}, {"22", INVALID},     {"23", INVALID},  {"42501", DENIED},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strncmp(sqlstate, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].status;
    return INTERNAL;
}

size_t pg_line_of_position(const char *sql, const char *position)
{
    long left = strtol(position, NULL, 10) - 1;
    size_t line = 1;

    for (; *sql && left > 0; sql++) {
        if (*sql == '\n')
            line++;
        if (((unsigned char)*sql & 0xc0) != 0x80)
            left--;
    }
    return line;
}

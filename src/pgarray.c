/* SPDX-License-Identifier: Apache-2.0 */
#include "pgarray.h"

#include <inttypes.h>
#include <string.h>

static void separate(struct buf *out)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        buf_addc(out, ',');
}

void pgarray_begin(struct buf *out)
{
    buf_addc(out, '{');
}

void pgarray_end(struct buf *out)
{
    buf_addc(out, '}');
}

void pgarrays_begin(struct buf arrays[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_init(&arrays[i], SIZE_MAX);
        pgarray_begin(&arrays[i]);
    }
}

void pgarrays_end(struct buf arrays[], size_t count, const char *texts[])
{
    for (size_t i = 0; i < count; i++) {
        pgarray_end(&arrays[i]);
        texts[i] = buf_str(&arrays[i]);
    }
}

void pgarrays_done(struct buf arrays[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_done(&arrays[i]);
}

static bool needs_escape(char c)
{
    return c == '"' || c == '\\';
}

static void add_quoted(struct buf *out, const char *text, size_t len)
{
    size_t escapes = 0;
    char *at;

    for (size_t i = 0; i < len; i++)
        escapes += needs_escape(text[i]);
    separate(out);
    at = buf_reserve(out, len + escapes + 2);
    if (!at)
        return;
    buf_commit(out, len + escapes + 2);
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (needs_escape(text[i]))
            *at++ = '\\';
        *at++ = text[i];
    }
    *at = '"';
}

void pgarray_add(struct buf *out, const char *text)
{
    if (text) {
        add_quoted(out, text, strlen(text));
        return;
    }
    separate(out);
    buf_adds(out, "NULL");
}

void pgarray_add_int(struct buf *out, int64_t value)
{
    separate(out);
    buf_addf(out, "%" PRId64, value);
}

void pgarray_add_list(struct buf *out, const char *list)
{
    while (*list) {
        size_t len;

        list += strspn(list, ", \t");
        len = strcspn(list, ",");
        while (len > 0 && (list[len - 1] == ' ' || list[len - 1] == '\t'))
            len--;
        if (len > 0)
            add_quoted(out, list, len);
        list += strcspn(list, ",");
    }
}

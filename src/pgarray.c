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

static void add_quoted(struct buf *out, const char *text, size_t len)
{
    separate(out);
    buf_addc(out, '"');
    while (len > 0) {
        size_t plain = 0;

        while (plain < len && text[plain] != '"' && text[plain] != '\\')
            plain++;
        buf_add(out, text, plain);
        if (plain < len) {
            buf_addc(out, '\\');
            buf_addc(out, text[plain++]);
        }
        text += plain;
        len -= plain;
    }
    buf_addc(out, '"');
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

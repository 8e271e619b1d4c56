/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_inflater.c - compressed messages: in one piece and in several, the same comes out.
 */
#include "buf.h"
#include "inflater.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT_BYTES = 70000 };

static enum status inflate_in(const char *data, size_t size, size_t piece, struct buf *out)
{
    struct inflater *inflater = inflater_create();
    enum status st = OK;

    buf_init(out, LIMIT_BYTES);
    for (size_t at = 0; st == OK && at < size; at += piece)
        st = inflater_add(inflater, data + at, size - at < piece ? size - at : piece, false, out);
    if (st == OK)
        st = inflater_add(inflater, "", 0, true, out);
    if (out->len > LIMIT_BYTES)
        abort();
    inflater_free(inflater);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct buf whole, pieces;
    enum status st;

    if (size == 0)
        return 0;
    st = inflate_in(text, size, size, &whole);
    if (inflate_in(text, size, 1 + data[0] % 16, &pieces) != st)
        abort();
    if (st == OK &&
        (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0)))
        abort();
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}

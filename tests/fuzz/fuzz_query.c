/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_query.c - percent-decoding and query strings.
 */
#include "buf.h"
#include "http_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

/* Decodes into as little room as the contract asks for. */
static void check_decode(struct slice s, bool plus_is_space)
{
    char *out = mem_alloc(s.len + 1);
    long len = url_decode(s, plus_is_space, out);

    require(len >= -1 && len <= (long)s.len);
    if (len >= 0)
        require(strlen(out) == (size_t)len);
    free(out);
}

/* What is encoded comes back; a NUL is refused. */
static void check_round_trip(const char *text, size_t size)
{
    char *out = mem_alloc(3 * size + 1);
    struct buf encoded;
    long len;

    buf_init(&encoded, 3 * size);
    for (size_t i = 0; i < size; i++)
        buf_addf(&encoded, i % 2 ? "%%%02x" : "%%%02X", (unsigned)(unsigned char)text[i]);
    len = url_decode((struct slice){buf_str(&encoded), encoded.len}, size % 2, out);
    if (size && memchr(text, '\0', size))
        require(len == -1);
    else
        require(len == (long)size && (size == 0 || memcmp(out, text, size) == 0));
    buf_done(&encoded);
    free(out);
}

/* Names, values and separators are all there is. */
static void check_pairs(const char *text, size_t size)
{
    struct slice rest = {text, size};
    struct slice name;
    struct slice value;
    size_t seen = 0;

    while (query_next(&rest, &name, &value)) {
        require(name.data >= text && value.data >= name.data + name.len);
        require(value.data + value.len <= text + size);
        require(!name.len ||
                (!memchr(name.data, '&', name.len) && !memchr(name.data, '=', name.len)));
        require(!value.len || !memchr(value.data, '&', value.len));
        seen += name.len + value.len;
        check_decode(name, true);
        check_decode(value, true);
    }
    require(rest.len == 0 && seen <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    check_decode((struct slice){text, size}, false);
    check_round_trip(text, size);
    check_pairs(text, size);
    return 0;
}

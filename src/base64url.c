/* SPDX-License-Identifier: Apache-2.0 */
#include "base64url.h"

#include <stdlib.h>
#include <string.h>

#define COMMON "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

enum { LETTERS = 64 };

static const char url_alphabet[] = COMMON "-_";
static const char alphabet[] = COMMON "+/";

static void add(struct buf *out, const char *letters, const void *bytes, size_t len)
{
    const unsigned char *from = bytes;
    uint32_t bits = 0;
    int count = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | from[i];
        for (count += 8; count >= 6; count -= 6)
            buf_addc(out, letters[bits >> (count - 6) & 63]);
    }
    if (count > 0)
        buf_addc(out, letters[bits << (6 - count) & 63]);
}

/* Without padding. */
static unsigned char *decode(const char *letters, const char *text, size_t len, size_t *out_len)
{
    unsigned char *out;
    uint32_t bits = 0;
    int count = 0;
    size_t n = 0;

    if (len % 4 == 1)
        return NULL;
    out = mem_alloc(len / 4 * 3 + 3);
    for (size_t i = 0; i < len; i++) {
        const char *found = memchr(letters, text[i], LETTERS);

        if (!found) {
            free(out);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)(found - letters);
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[n++] = (unsigned char)(bits >> count);
        }
    }
    if (bits & ((1U << count) - 1)) {
        free(out);
        return NULL;
    }
    *out_len = n;
    return out;
}

void base64url_add(struct buf *out, const void *bytes, size_t len)
{
    add(out, url_alphabet, bytes, len);
}

unsigned char *base64url_decode(const char *text, size_t len, size_t *out_len)
{
    return decode(url_alphabet, text, len, out_len);
}

void base64_add(struct buf *out, const void *bytes, size_t len)
{
    add(out, alphabet, bytes, len);
    for (size_t i = len; i % 3 != 0; i++)
        buf_addc(out, '=');
}

unsigned char *base64_decode(const char *text, size_t len, size_t *out_len)
{
    if (len && len % 4 == 0) {
        len -= text[len - 1] == '=';
        len -= text[len - 1] == '=';
    }
    return decode(alphabet, text, len, out_len);
}

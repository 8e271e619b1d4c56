/* SPDX-License-Identifier: Apache-2.0 */
#include "load_text.h"

#include <string.h>

static const char *const names[TEXT_VALUES] = {
    [TEXT_N] = "{n}", [TEXT_C] = "{c}", [TEXT_T] = "{t}"};
static const char pad_name[] = "{pad}";

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum text_value find_value(const char *source)
{
    enum text_value value = TEXT_N;

    while (value < TEXT_VALUES && !begins(source, names[value]))
        value++;
    return value;
}

static void end_piece(struct text *text, size_t from, enum text_value value)
{
    if (text->pieces == TEXT_PIECES)
        load_usage("a text has more than %d numbers in it", TEXT_PIECES - 1);
    text->piece[text->pieces++] =
        (struct text_piece){.from = from, .len = text->literal.len - from, .value = value};
    if (value == TEXT_VALUES)
        return;
    text->has[value] = true;
    text->longest += TEXT_NUMBER_BYTES;
}

void text_compile(struct text *text, const char *source, size_t pad)
{
    size_t from = 0;

    *text = (struct text){0};
    bytes_room(&text->literal, 1);
    while (*source) {
        enum text_value value = find_value(source);
        if (value < TEXT_VALUES) {
            end_piece(text, from, value);
            from = text->literal.len;
            source += strlen(names[value]);
        } else if (begins(source, pad_name)) {
            memset(bytes_room(&text->literal, pad), 'x', pad);
            text->literal.len += pad;
            source += strlen(pad_name);
        } else {
            bytes_add(&text->literal, source++, 1);
        }
    }
    end_piece(text, from, TEXT_VALUES);
    text->longest += text->literal.len;
}

void text_free(struct text *text)
{
    bytes_free(&text->literal);
}

size_t text_write_number(char *out, uint64_t number)
{
    char digits[TEXT_NUMBER_BYTES];
    size_t at = sizeof digits;
    size_t len;

    while (number > UINT32_MAX) {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    }
    for (uint32_t small = (uint32_t)number; at == sizeof digits || small; small /= 10)
        digits[--at] = (char)('0' + small % 10);
    len = sizeof digits - at;
    memcpy(out, digits + at, len);
    return len;
}

size_t text_write(const struct text *text, const struct text_values *values, char *out)
{
    char *at = out;

    for (size_t i = 0; i < text->pieces; i++) {
        const struct text_piece *piece = &text->piece[i];
        memcpy(at, text->literal.data + piece->from, piece->len);
        at += piece->len;
        if (piece->value < TEXT_VALUES)
            at += text_write_number(at, values->of[piece->value]);
    }
    return (size_t)(at - out);
}

/* Returns the number of digits: 0 when there is no number, or one that is not written as we would
 * write it. */
static size_t read_number(const char *data, size_t len, uint64_t *number)
{
    size_t at = 0;

    *number = 0;
    while (at < len && at < TEXT_NUMBER_BYTES - 1 && data[at] >= '0' && data[at] <= '9')
        *number = *number * 10 + (uint64_t)(data[at++] - '0');
    return at > 1 && data[0] == '0' ? 0 : at;
}

bool text_read(const struct text *text, const char *data, size_t len, struct text_values *values)
{
    bool seen[TEXT_VALUES] = {false};
    size_t at = 0;

    for (size_t i = 0; i < text->pieces; i++) {
        const struct text_piece *piece = &text->piece[i];
        uint64_t number;
        size_t digits;
        if (len - at < piece->len ||
            memcmp(data + at, text->literal.data + piece->from, piece->len) != 0)
            return false;
        at += piece->len;
        if (piece->value == TEXT_VALUES)
            continue;
        digits = read_number(data + at, len - at, &number);
        if (!digits || (seen[piece->value] && values->of[piece->value] != number))
            return false;
        seen[piece->value] = true;
        values->of[piece->value] = number;
        at += digits;
    }
    return at == len;
}

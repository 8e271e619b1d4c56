/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_text.h - texts with numbers in them: compiled once, then written or read per message.
 *
 * {n} is the message's counter, {c} a connection's number, {t} a topic's number; {pad} is put in
 * when the text is compiled.  All other bytes, other braces among them, are themselves.
 */
#pragma once

#include "load_base.h"

enum text_value { TEXT_N, TEXT_C, TEXT_T, TEXT_VALUES };

enum { TEXT_PIECES = 16, TEXT_NUMBER_BYTES = 20 };

struct text_values {
    uint64_t of[TEXT_VALUES];
};

/* Literal bytes, and the number behind them: none behind the last piece. */
struct text_piece {
    size_t from, len;
    enum text_value value;
};

struct text {
    struct bytes literal;
    size_t pieces;
    size_t longest; /* bytes, whatever the numbers are */
    bool has[TEXT_VALUES];
    struct text_piece piece[TEXT_PIECES];
};

/* Exits as load_usage() does when there are too many numbers in it. */
void text_compile(struct text *text, const char *source, size_t pad);
void text_free(struct text *text);

/* Writes at most text->longest bytes; returns how many. */
size_t text_write(const struct text *text, const struct text_values *values, char *out);
size_t text_write_number(char *out, uint64_t number);

/* Whether the bytes are this text, with whatever numbers: these are put into values, which keep
 * what they have where the text has no such number. */
bool text_read(const struct text *text, const char *data, size_t len, struct text_values *values);

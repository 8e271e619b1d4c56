/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - writing JSON into a struct buf, and reading it (cJSON inside, nowhere else).
 *
 * Writer: straight lines; commas come from what stands before.  What is not UTF-8 in a text
 * becomes U+FFFD.
 *   json_open(&out, NULL, '{'); json_str(&out, "connectionId", id); json_close(&out, '}');
 * In an array the key is NULL.
 *
 * Reader: a tree that json_free frees; everything got from it is borrowed until then.
 */
#pragma once

#include "buf.h"

void json_open(struct buf *out, const char *key, char bracket);     /* '{' or '[' */
void json_close(struct buf *out, char bracket);                     /* '}' or ']' */
void json_str(struct buf *out, const char *key, const char *value); /* NULL value: null */
void json_strn(struct buf *out, const char *key, const char *value, size_t len);
void json_int(struct buf *out, const char *key, int64_t value);
void json_bool(struct buf *out, const char *key, bool value);
void json_null(struct buf *out, const char *key);
/* The value is JSON text already. */
void json_raw(struct buf *out, const char *key, const char *json, size_t len);

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json;

/* Parses exactly one value with nothing but white space around it.  INVALID with the byte offset
 * otherwise.  The text need not end in NUL.  Strict, as jsonb is: RFC 8259, valid UTF-8, no \u0000,
 * no lone surrogates; and at most 500 levels, numbers of at most 63 characters. */
enum status json_parse(const char *text, size_t len, struct json **out, struct error *err) MUST_USE;
void json_free(struct json *json); /* the root only; NULL is allowed */

enum json_type json_type(const struct json *json);
const struct json *json_get(const struct json *object,
                            const char *key);                       /* last duplicate wins; NULL */
const struct json *json_at(const struct json *array, size_t index); /* NULL past the end */
size_t json_len(const struct json *json);                           /* array or object */
/* Walks children of an array or object: first, then next.  json_key: the member's name. */
const struct json *json_first(const struct json *json);
const struct json *json_next(const struct json *json);
const char *json_key(const struct json *json);
const char *json_text(const struct json *json); /* a JSON_STRING's text, NULL for others */
double json_number(const struct json *json);
bool json_is_true(const struct json *json);

/* Required members of an object; the error names the member. */
enum status json_get_str(const struct json *object, const char *key, const char **out,
                         struct error *err) MUST_USE;
enum status json_get_int(const struct json *object, const char *key, int64_t *out,
                         struct error *err) MUST_USE;
/* Optional ones: absent or null leaves *out alone; a wrong type is INVALID. */
enum status json_opt_str(const struct json *object, const char *key, const char **out,
                         struct error *err) MUST_USE;
enum status json_opt_int(const struct json *object, const char *key, int64_t *out,
                         struct error *err) MUST_USE;

/* Writes a value back as compact JSON. */
void json_write(struct buf *out, const char *key, const struct json *json);

/* Inside other text, so without a comma, whatever stands before: a text with its quotes, a value.
 */
void json_add_string(struct buf *out, const char *text, size_t len);
void json_add(struct buf *out, const struct json *json);
/* A number as json_add writes it: the shortest digits that read back as the same. */
void json_add_number(struct buf *out, double value);
/* As Java prints it: [x, y] and {a=1, b=2}, texts without quotes. */
void json_add_java(struct buf *out, const struct json *json);

/* Finds the member path[0].path[1]... of an object without building a tree, with the outcome that
 * json_parse and json_get would have.  INVALID: json_parse refuses the text.  PLAIN: *value is the
 * member's text, borrowed from `text`: a string's without quotes, or a word or short integer.
 * TREE: it takes a tree to say (the value is an object or array, there are escapes, ...). */
enum json_lookup { JSON_LOOKUP_INVALID, JSON_LOOKUP_MISSING, JSON_LOOKUP_PLAIN, JSON_LOOKUP_TREE };
enum { JSON_LOOKUP_DEPTH = 16 };
enum json_lookup json_lookup(const char *text, size_t len, const char *const *path, size_t path_len,
                             const char **value, size_t *value_len) MUST_USE;

/* True when the bytes are valid UTF-8 (no surrogates, no overlong forms). */
bool utf8_is_valid(const char *text, size_t len);

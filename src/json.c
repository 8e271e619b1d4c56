/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - writing JSON into a struct buf, and reading it.
 *
 * Reading is strict (RFC 8259, and what PostgreSQL's jsonb takes): a scanner of ours checks the
 * whole text, then cJSON builds the tree.  cJSON alone would let control characters, "01", a byte
 * order mark and a NUL by escape through, and a message that this program calls JSON must be JSON
 * to SQL too.
 */
#include "json.h"

#include "json_scan.h"

#include <cjson/cJSON.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writer ---- */

/* A value ends in a quote, a bracket, a digit or a letter; a comma belongs behind it.  After an
 * opening bracket, a colon, or text that is not ours (a blank, a new line) it does not. */
static bool is_behind_value(const struct buf *out)
{
    char last = out->len ? out->data[out->len - 1] : '\0';

    return last == '"' || last == '}' || last == ']' || (last >= '0' && last <= '9') ||
           (last >= 'a' && last <= 'z');
}

static void add_escaped(struct buf *out, unsigned char c)
{
    static const char letters[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

    if (c == '"' || c == '\\')
        buf_addf(out, "\\%c", c);
    else if (letters[c])
        buf_addf(out, "\\%c", letters[c]);
    else
        buf_addf(out, "\\u%04x", c);
}

/* True for a byte that stands for itself inside a string, wherever it is. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void json_add_string(struct buf *out, const char *text, size_t len)
{
    size_t at = 0;

    buf_addc(out, '"');
    while (at < len) {
        size_t end = at;

        while (end < len && is_plain((unsigned char)text[end]))
            end++;
        buf_add(out, text + at, end - at);
        if (end == len)
            break;
        at = end;
        if ((unsigned char)text[at] < 0x80) {
            add_escaped(out, (unsigned char)text[at++]);
        } else {
            size_t n = utf8_char_len(text + at, len - at);

            if (n)
                buf_add(out, text + at, n);
            else
                buf_adds(out, "\xEF\xBF\xBD"); /* U+FFFD */
            at += n ? n : 1;
        }
    }
    buf_addc(out, '"');
}

static void begin_value(struct buf *out, const char *key)
{
    if (is_behind_value(out))
        buf_addc(out, ',');
    if (key) {
        json_add_string(out, key, strlen(key));
        buf_addc(out, ':');
    }
}

void json_open(struct buf *out, const char *key, char bracket)
{
    begin_value(out, key);
    buf_addc(out, bracket);
}

void json_close(struct buf *out, char bracket)
{
    buf_addc(out, bracket);
}

void json_str(struct buf *out, const char *key, const char *value)
{
    if (value)
        json_strn(out, key, value, strlen(value));
    else
        json_null(out, key);
}

void json_strn(struct buf *out, const char *key, const char *value, size_t len)
{
    begin_value(out, key);
    json_add_string(out, value, len);
}

void json_int(struct buf *out, const char *key, int64_t value)
{
    begin_value(out, key);
    buf_addf(out, "%" PRId64, value);
}

void json_bool(struct buf *out, const char *key, bool value)
{
    begin_value(out, key);
    buf_adds(out, value ? "true" : "false");
}

void json_null(struct buf *out, const char *key)
{
    begin_value(out, key);
    buf_adds(out, "null");
}

void json_raw(struct buf *out, const char *key, const char *json, size_t len)
{
    /* Blanks at the end would hide from the next value that it needs a comma. */
    while (len && strchr(" \t\r\n", json[len - 1]))
        len--;
    begin_value(out, key);
    buf_add(out, json, len);
}

/* ---- reader ---- */

/* cJSON's own out-of-memory branches are then never taken.  Before main, because hooks are for the
 * whole process. */
__attribute__((constructor)) static void hook_cjson(void)
{
    cJSON_Hooks hooks = {.malloc_fn = mem_alloc, .free_fn = free};

    cJSON_InitHooks(&hooks);
}

static const cJSON *node(const struct json *json)
{
    return (const cJSON *)(const void *)json;
}

static const struct json *wrap(const cJSON *item)
{
    return (const struct json *)(const void *)item;
}

enum status json_parse(const char *text, size_t len, struct json **out, struct error *err)
{
    size_t offset;
    cJSON *tree;

    if (!utf8_is_valid(text, len))
        return fail(err, INVALID, "not JSON: it is not valid UTF-8");
    if (!json_scan(text, len, &offset))
        return fail(err, INVALID, "not JSON at byte %zu of %zu", offset, len);
    tree = cJSON_ParseWithLength(text, len);
    if (!tree)
        return fail(err, INTERNAL, "cJSON does not take what is JSON");
    *out = (struct json *)(void *)tree;
    return OK;
}

void json_free(struct json *json)
{
    cJSON_Delete((cJSON *)(void *)json);
}

enum json_type json_type(const struct json *json)
{
    switch (node(json)->type & 0xFF) {
    case cJSON_False:
    case cJSON_True:
        return JSON_BOOL;
    case cJSON_Number:
        return JSON_NUMBER;
    case cJSON_String:
        return JSON_STRING;
    case cJSON_Array:
        return JSON_ARRAY;
    case cJSON_Object:
        return JSON_OBJECT;
    default:
        return JSON_NULL;
    }
}

const struct json *json_first(const struct json *json)
{
    return wrap(node(json)->child);
}

const struct json *json_next(const struct json *json)
{
    return wrap(node(json)->next);
}

const char *json_key(const struct json *json)
{
    return node(json)->string;
}

const struct json *json_get(const struct json *object, const char *key)
{
    const struct json *found = NULL;

    if (!object || json_type(object) != JSON_OBJECT)
        return NULL;
    for (const struct json *it = json_first(object); it; it = json_next(it)) {
        if (strcmp(json_key(it), key) == 0)
            found = it;
    }
    return found;
}

const struct json *json_at(const struct json *array, size_t index)
{
    const struct json *it;

    if (!array || json_type(array) != JSON_ARRAY)
        return NULL;
    it = json_first(array);
    while (it && index-- > 0)
        it = json_next(it);
    return it;
}

size_t json_len(const struct json *json)
{
    size_t count = 0;

    for (const struct json *it = json_first(json); it; it = json_next(it))
        count++;
    return count;
}

const char *json_text(const struct json *json)
{
    return json && cJSON_IsString(node(json)) ? node(json)->valuestring : NULL;
}

double json_number(const struct json *json)
{
    return node(json)->valuedouble;
}

bool json_is_true(const struct json *json)
{
    return json && cJSON_IsTrue(node(json));
}

/* ---- members by name ---- */

/* The member unless it is absent or null. */
static const struct json *get_present(const struct json *object, const char *key)
{
    const struct json *member = json_get(object, key);

    return member && json_type(member) != JSON_NULL ? member : NULL;
}

enum status json_opt_str(const struct json *object, const char *key, const char **out,
                         struct error *err)
{
    const struct json *member = get_present(object, key);

    if (!member)
        return OK;
    if (json_type(member) != JSON_STRING)
        return fail(err, INVALID, "\"%s\" must be a string", key);
    *out = json_text(member);
    return OK;
}

enum status json_opt_int(const struct json *object, const char *key, int64_t *out,
                         struct error *err)
{
    const double exact = 9007199254740992.0; /* 2^53: past it a double skips integers */
    const struct json *member = get_present(object, key);
    double value;

    if (!member)
        return OK;
    value = json_type(member) == JSON_NUMBER ? json_number(member) : (double)NAN;
    if (!(value >= -exact && value <= exact) || value != (double)(int64_t)value)
        return fail(err, INVALID, "\"%s\" must be an integer", key);
    *out = (int64_t)value;
    return OK;
}

enum status json_get_str(const struct json *object, const char *key, const char **out,
                         struct error *err)
{
    if (!get_present(object, key))
        return fail(err, INVALID, "\"%s\" is missing", key);
    return json_opt_str(object, key, out, err);
}

enum status json_get_int(const struct json *object, const char *key, int64_t *out,
                         struct error *err)
{
    if (!get_present(object, key))
        return fail(err, INVALID, "\"%s\" is missing", key);
    return json_opt_int(object, key, out, err);
}

/* ---- a tree back to text ---- */

/* The shortest text that reads back as the same number. */
void json_add_number(struct buf *out, double value)
{
    char text[32];

    if (isinf(value)) { /* "1e999" was read; JSON has no word for it */
        buf_adds(out, value > 0 ? "1e999" : "-1e999");
        return;
    }
    if (fabs(value) < 1e15 && value == (double)(int64_t)value) {
        buf_addf(out, "%.0f", value);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_adds(out, text);
}

static void add_scalar(struct buf *out, const struct json *json)
{
    switch (json_type(json)) {
    case JSON_BOOL:
        buf_adds(out, json_is_true(json) ? "true" : "false");
        break;
    case JSON_NUMBER:
        json_add_number(out, json_number(json));
        break;
    case JSON_STRING:
        json_add_string(out, json_text(json), strlen(json_text(json)));
        break;
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        buf_adds(out, "null");
        break;
    }
}

void json_add(struct buf *out, const struct json *json)
{
    bool is_object = json_type(json) == JSON_OBJECT;

    if (!is_object && json_type(json) != JSON_ARRAY) {
        add_scalar(out, json);
        return;
    }
    buf_addc(out, is_object ? '{' : '[');
    for (const struct json *it = json_first(json); it; it = json_next(it))
        json_write(out, is_object ? json_key(it) : NULL, it);
    buf_addc(out, is_object ? '}' : ']');
}

void json_write(struct buf *out, const char *key, const struct json *json)
{
    begin_value(out, key);
    json_add(out, json);
}

void json_add_java(struct buf *out, const struct json *json)
{
    bool is_object = json_type(json) == JSON_OBJECT;

    if (json_type(json) == JSON_STRING) {
        buf_adds(out, json_text(json));
        return;
    }
    if (!is_object && json_type(json) != JSON_ARRAY) {
        add_scalar(out, json);
        return;
    }
    buf_addc(out, is_object ? '{' : '[');
    for (const struct json *it = json_first(json); it; it = json_next(it)) {
        if (it != json_first(json))
            buf_adds(out, ", ");
        if (is_object)
            buf_addf(out, "%s=", json_key(it));
        json_add_java(out, it);
    }
    buf_addc(out, is_object ? '}' : ']');
}

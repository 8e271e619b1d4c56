/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_json.c - any bytes as JSON, and what our writer wrote read back.
 */
#include "json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_same(const struct json *a, const struct json *b)
{
    require(json_type(a) == json_type(b));
    require(json_len(a) == json_len(b));
    require(json_is_true(a) == json_is_true(b));
    if (json_type(a) == JSON_NUMBER)
        require(json_number(a) == json_number(b));
    if (json_type(a) == JSON_STRING)
        require(strcmp(json_text(a), json_text(b)) == 0);
    a = json_first(a);
    b = json_first(b);
    for (; a; a = json_next(a), b = json_next(b)) {
        require((json_key(a) == NULL) == (json_key(b) == NULL));
        if (json_key(a))
            require(strcmp(json_key(a), json_key(b)) == 0);
        check_same(a, b);
    }
}

/* What was read, written and read again is the same; and what we take is UTF-8. */
static void check_reader(const char *text, size_t size)
{
    struct json *json = NULL;
    struct json *again = NULL;
    struct buf out;
    enum status st = json_parse(text, size, &json, NULL);

    require(st == OK || st == INVALID); /* INTERNAL: our scanner and cJSON disagree */
    if (st)
        return;
    require(utf8_is_valid(text, size));
    buf_init(&out, SIZE_MAX);
    json_write(&out, NULL, json);
    require(json_parse(buf_str(&out), out.len, &again, NULL) == OK);
    check_same(json, again);
    json_free(again);
    json_free(json);
    buf_done(&out);
}

/* Any bytes as texts and names; exactly these come back when they are text at all. */
static void check_writer(const char *text, size_t size)
{
    size_t half = size / 2;
    char *key = mem_strndup(text, half);
    bool is_exact = utf8_is_valid(text + half, size - half) && utf8_is_valid(key, strlen(key));
    struct json *json = NULL;
    struct buf out;

    /* \u0000 is written, but neither cJSON nor SQL can hold it. */
    if (memchr(text, '\0', size)) {
        free(key);
        return;
    }
    buf_init(&out, SIZE_MAX);
    json_open(&out, NULL, '[');
    json_open(&out, NULL, '{');
    json_strn(&out, key, text + half, size - half);
    json_int(&out, key, (int64_t)size);
    json_close(&out, '}');
    json_strn(&out, NULL, text, size);
    json_close(&out, ']');
    require(json_parse(buf_str(&out), out.len, &json, NULL) == OK);
    require(json_len(json) == 2);
    if (is_exact) {
        const struct json *member = json_first(json_at(json, 0));
        const char *value = json_text(member);

        require(strcmp(json_key(member), key) == 0);
        require(strlen(value) == size - half && memcmp(value, text + half, size - half) == 0);
    }
    json_free(json);
    buf_done(&out);
    free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    check_reader(text, size);
    if (size)
        check_writer(text, size);
    return 0;
}

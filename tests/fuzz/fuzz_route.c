/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_route.c - any bytes as a message: the scanner and the tree select the same route.
 *
 * The first byte picks an expression; past the table the input itself is compiled as one, up to the
 * first line break.
 */
#include "json.h"
#include "route.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEY_BYTES = 64, PARTS = 3, STEPS = 3 };

/* What the expression means, for a second opinion that knows trees only. */
struct sample {
    const char *text;
    struct {
        const char *literal;
        const char *path[STEPS];
    } parts[PARTS];
};

static const struct sample samples[] = {
    {"$request.body.action", {{.path = {"action"}}}},
    {"$request.body.a", {{.path = {"a"}}}},
    {"$request.body.a.b", {{.path = {"a", "b"}}}},
    {"${request.body.a.b.a}", {{.path = {"a", "b", "a"}}}},
    {"${request.body['']['a']}", {{.path = {"", "a"}}}},
    {"$request.body.a/$request.body.b", {{.path = {"a"}}, {.literal = "/"}, {.path = {"b"}}}},
    {"x${request.body.a.b}", {{.literal = "x"}, {.path = {"a", "b"}}}},
};

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void add_reference(struct buf *key, const struct json *value)
{
    struct buf text;

    if (json_type(value) == JSON_STRING) {
        buf_adds(key, json_text(value));
        return;
    }
    if (json_type(value) == JSON_ARRAY) {
        buf_adds(key, "[");
        for (const struct json *it = json_first(value); it; it = json_next(it)) {
            buf_adds(key, it == json_first(value) ? "" : ", ");
            add_reference(key, it);
        }
        buf_adds(key, "]");
        return;
    }
    buf_init(&text, SIZE_MAX);
    json_write(&text, NULL, value);
    buf_adds(key, buf_str(&text));
    buf_done(&text);
}

static void select_reference(const struct sample *sample, const char *body, size_t size,
                             struct buf *key)
{
    struct json *tree = NULL;

    if (json_parse(body, size, &tree, NULL) == OK &&
        (json_type(tree) == JSON_OBJECT || json_type(tree) == JSON_ARRAY)) {
        for (size_t i = 0; i < PARTS; i++) {
            const struct json *value = tree;

            if (sample->parts[i].literal)
                buf_adds(key, sample->parts[i].literal);
            if (!sample->parts[i].path[0])
                continue;
            for (size_t j = 0; j < STEPS && sample->parts[i].path[j] && value; j++)
                value = json_get(value, sample->parts[i].path[j]);
            if (value)
                add_reference(key, value);
        }
    }
    json_free(tree);
    if (key->len == 0 || key->len > KEY_BYTES || key->data[0] == '$') {
        buf_clear(key);
        buf_adds(key, "$default");
    }
}

static void check_sample(const struct sample *sample, const char *body, size_t size)
{
    struct route_expression *expression = NULL;
    struct buf expected;
    struct buf key;

    require(route_compile(sample->text, &expression, NULL) == OK);
    buf_init(&key, KEY_BYTES);
    buf_init(&expected, SIZE_MAX);
    route_select(expression, body, size, &key);
    select_reference(sample, body, size, &expected);
    require(strcmp(buf_str(&key), buf_str(&expected)) == 0);
    buf_done(&expected);
    buf_done(&key);
    route_free(expression);
}

static void check_expression(const char *text, size_t size)
{
    const char *end = size ? memchr(text, '\n', size) : NULL;
    size_t len = end ? (size_t)(end - text) : size;
    char *copy = mem_strndup(text, len);
    struct route_expression *expression = NULL;
    struct error err = {.text = ""};
    struct buf key;

    if (route_compile(copy, &expression, &err)) {
        require(err.status == INVALID && err.text[0] != '\0' && !expression);
    } else {
        buf_init(&key, KEY_BYTES);
        route_select(expression, end ? end + 1 : "", end ? size - len - 1 : 0, &key);
        require(key.len > 0 && !buf_full(&key));
        require(buf_str(&key)[0] != '$' || strcmp(buf_str(&key), "$default") == 0);
        buf_done(&key);
        route_free(expression);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t pick;

    if (size == 0)
        return 0;
    pick = data[0] % (ARRAY_LEN(samples) + 1);
    if (pick < ARRAY_LEN(samples))
        check_sample(&samples[pick], text + 1, size - 1);
    else
        check_expression(text + 1, size - 1);
    return 0;
}

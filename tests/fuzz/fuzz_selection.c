/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_selection.c - any line as a selection expression, any bytes as the message behind it.
 */
#include "route.h"
#include "selection.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static const char *get_header(const void *ctx, const char *name)
{
    require(ctx != NULL && name[0] != '\0');
    return strlen(name) % 2 ? name : NULL;
}

/* Routes are the same language with fewer variables: what is a route's key is a selection's too. */
static void check_route(const char *text, const char *body, size_t len, struct buf *key)
{
    struct route_expression *route = NULL;
    struct buf route_key;

    if (route_compile(text, &route, NULL))
        return;
    buf_init(&route_key, 10000);
    route_select(route, body ? body : "", len, &route_key);
    if (strcmp(buf_str(&route_key), "$default") != 0)
        require(key->len == route_key.len && memcmp(key->data, route_key.data, route_key.len) == 0);
    buf_done(&route_key);
    route_free(route);
}

static void check_literal(const char *text, struct buf *key)
{
    if (!strpbrk(text, "$\\"))
        require(strcmp(buf_str(key), text) == 0);
}

static void check_expression(const char *text, const char *body, size_t len)
{
    const struct selection_answer answer = {200, get_header, text};
    struct selection *selection = NULL;
    struct error err = {.text = ""};
    struct buf key;

    if (selection_compile(text, &selection, &err)) {
        struct route_expression *route = NULL;

        require(err.status == INVALID && err.text[0] != '\0' && !selection);
        require(route_compile(text, &route, NULL) == INVALID);
        return;
    }
    buf_init(&key, SIZE_MAX);
    selection_eval(selection, body, len, NULL, &key);
    check_route(text, body, len, &key);
    check_literal(text, &key);
    buf_clear(&key);
    selection_eval(selection, body, len, &answer, &key);
    buf_done(&key);
    selection_free(selection);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size ? memchr(text, '\n', size) : NULL;
    size_t len = end ? (size_t)(end - text) : size;
    char *copy = mem_strndup(text, len);

    check_expression(copy, end ? end + 1 : NULL, end ? size - len - 1 : 0);
    free(copy);
    return 0;
}

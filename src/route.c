/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - route selection expressions.
 *
 * Two ways to evaluate, with the same outcome (tests/fuzz/fuzz_route.c compares them): by scanning
 * the text for each variable, when all are plain member paths, and by a tree for the rest.
 */
#include "route.h"

#include "expression.h"

#include <stdlib.h>

struct route_expression {
    struct expression expression;
    bool is_scannable; /* every variable is one or more names */
    bool is_always_default;
};

/* ---- compiling ---- */

static bool is_scannable(const struct expression *expression)
{
    const char *names[JSON_PATH_STEPS];

    for (size_t i = 0; i < expression->part_count; i++) {
        const struct expression_part *part = &expression->parts[i];

        if (part->path && json_path_names(part->path, names) == 0)
            return false;
    }
    return true;
}

enum status route_compile(const char *text, struct route_expression **out, struct error *err)
{
    struct route_expression *route = mem_alloc(sizeof(*route));
    const struct expression_part *first = &route->expression.parts[0];
    enum status st =
        expression_compile(text, "route selection expression", false, &route->expression, err);

    if (st) {
        free(route);
        return st;
    }
    route->is_scannable = is_scannable(&route->expression);
    /* Nobody may name a key with a dollar, so nothing has to be evaluated. */
    route->is_always_default = first->kind == EXPRESSION_LITERAL && first->text[0] == '$';
    *out = route;
    return OK;
}

void route_free(struct route_expression *route)
{
    if (!route)
        return;
    expression_done(&route->expression);
    free(route);
}

/* ---- by a tree ---- */

/* False when the body is no JSON object or array. */
static bool evaluate_by_tree(const struct expression *expression, const char *body, size_t len,
                             struct buf *key)
{
    struct json *tree = NULL;
    bool is_good;

    if (json_parse(body, len, &tree, NULL))
        return false;
    is_good = json_type(tree) == JSON_OBJECT || json_type(tree) == JSON_ARRAY;
    for (size_t i = 0; is_good && i < expression->part_count; i++) {
        const struct expression_part *part = &expression->parts[i];

        if (part->kind == EXPRESSION_LITERAL)
            buf_adds(key, part->text);
        else
            json_path_text(part->path, tree, key);
    }
    json_free(tree);
    return is_good;
}

/* ---- by scanning ---- */

static enum json_lookup scan_variable(const struct json_path *path, const char *body, size_t len,
                                      struct buf *key)
{
    const char *names[JSON_PATH_STEPS];
    size_t count = json_path_names(path, names);
    const char *value;
    size_t value_len;
    enum json_lookup result = json_lookup(body, len, names, count, &value, &value_len);

    if (result == JSON_LOOKUP_PLAIN)
        buf_add(key, value, value_len);
    return result;
}

/* PLAIN: the key was added.  INVALID: there is none.  TREE: this is not the way; what was added to
 * key is to be forgotten. */
static enum json_lookup evaluate_by_scan(const struct expression *expression, const char *body,
                                         size_t len, struct buf *key)
{
    bool has_variable = false;

    for (size_t i = 0; i < expression->part_count; i++) {
        const struct expression_part *part = &expression->parts[i];
        enum json_lookup result;

        if (part->kind == EXPRESSION_LITERAL) {
            buf_adds(key, part->text);
            continue;
        }
        has_variable = true;
        result = scan_variable(part->path, body, len, key);
        if (result == JSON_LOOKUP_INVALID || result == JSON_LOOKUP_TREE)
            return result;
    }
    /* Without one nobody has looked whether the body is JSON. */
    return has_variable ? JSON_LOOKUP_PLAIN : JSON_LOOKUP_TREE;
}

static bool evaluate(const struct route_expression *route, const char *body, size_t len,
                     struct buf *key)
{
    size_t start = key->len;

    if (route->is_always_default)
        return false;
    if (route->is_scannable) {
        enum json_lookup result = evaluate_by_scan(&route->expression, body, len, key);

        if (result != JSON_LOOKUP_TREE)
            return result == JSON_LOOKUP_PLAIN;
        key->len = start;
        key->full = false;
    }
    return evaluate_by_tree(&route->expression, body, len, key);
}

void route_select(const struct route_expression *route, const char *body, size_t len,
                  struct buf *key)
{
    size_t start = key->len;
    bool is_good = evaluate(route, body, len, key);

    if (is_good && !buf_full(key) && key->len > start && key->data[start] != '$')
        return;
    key->len = start;
    key->full = false;
    buf_adds(key, "$default");
}

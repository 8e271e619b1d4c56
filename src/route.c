/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - route selection expressions.
 *
 * Two ways to evaluate, with the same outcome (tests/fuzz/fuzz_route.c compares them): by scanning
 * the text for each variable, when all are plain member paths, and by a tree for the rest.
 */
#include "route.h"

#include "json.h"

#include <stdlib.h>
#include <string.h>

enum step_kind { STEP_NAME, STEP_INDEX, STEP_ALL };

struct step {
    enum step_kind kind;
    size_t index;
    char *name;
};

enum { MAX_PARTS = 16, MAX_STEPS = JSON_LOOKUP_DEPTH };

/* Literal text, or request.body with steps into it. */
struct part {
    char *literal; /* NULL: a variable */
    size_t step_count;
    struct step steps[MAX_STEPS];
    bool is_list; /* a step is "all": any number of values */
};

struct route_expression {
    size_t part_count;
    struct part parts[MAX_PARTS];
    bool is_scannable; /* every variable is one or more names */
    bool is_always_default;
};

/* ---- compiling ---- */

struct parser {
    const char *text;
    const char *at;
    struct route_expression *expression;
    struct error *err;
};

static enum status fail_at(const struct parser *p, const char *what)
{
    return fail(p->err, INVALID, "route selection expression \"%.100s\": %s at byte %zu", p->text,
                what, (size_t)(p->at - p->text));
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (unsigned char)c >= 0x80;
}

static size_t name_len(const char *text)
{
    size_t n = 0;

    while (is_name_char(text[n]))
        n++;
    return n;
}

/* Behind a dot. */
static enum status parse_name(struct parser *p, struct step *step)
{
    size_t len = name_len(p->at);

    if (*p->at == '*') {
        step->kind = STEP_ALL;
        p->at++;
        return OK;
    }
    if (len == 0)
        return fail_at(p, "a member's name is expected");
    step->kind = STEP_NAME;
    step->name = mem_strndup(p->at, len);
    p->at += len;
    return OK;
}

static enum status parse_quoted(struct parser *p, struct step *step)
{
    const char *end = strchr(p->at + 1, *p->at);

    if (!end)
        return fail_at(p, "a closing quote is missing");
    step->kind = STEP_NAME;
    step->name = mem_strndup(p->at + 1, (size_t)(end - p->at - 1));
    p->at = end + 1;
    return OK;
}

/* Behind an opening bracket. */
static enum status parse_subscript(struct parser *p, struct step *step)
{
    size_t digits = strspn(p->at, "0123456789");
    enum status st = OK;

    if (*p->at == '\'' || *p->at == '"') {
        st = parse_quoted(p, step);
    } else if (*p->at == '*') {
        step->kind = STEP_ALL;
        p->at++;
    } else if (digits > 0 && digits < 10) {
        step->kind = STEP_INDEX;
        step->index = strtoul(p->at, NULL, 10);
        p->at += digits;
    } else {
        st = fail_at(p, "an index, a quoted name or * is expected");
    }
    if (st)
        return st;
    if (*p->at != ']')
        return fail_at(p, "] is expected");
    p->at++;
    return OK;
}

static enum status parse_steps(struct parser *p, struct part *part)
{
    while (*p->at == '.' || *p->at == '[') {
        enum status st;
        struct step *step;

        if (part->step_count == MAX_STEPS)
            return fail_at(p, "the path is too long");
        step = &part->steps[part->step_count++];
        st = *p->at++ == '.' ? parse_name(p, step) : parse_subscript(p, step);
        if (st)
            return st;
        part->is_list |= step->kind == STEP_ALL;
        p->expression->is_scannable &= step->kind == STEP_NAME;
    }
    p->expression->is_scannable &= part->step_count > 0;
    return OK;
}

/* Behind the dollar. */
static enum status parse_variable(struct parser *p, struct part *part)
{
    static const char body[] = "request.body";
    size_t body_len = strlen(body);
    bool is_braced = *p->at == '{';
    enum status st;

    p->at += is_braced;
    if (strncmp(p->at, body, body_len) != 0 || is_name_char(p->at[body_len]))
        return fail_at(p, "request.body is the only variable of routes and is expected");
    p->at += body_len;
    st = parse_steps(p, part);
    if (st)
        return st;
    if (is_braced && *p->at != '}')
        return fail_at(p, "} is expected");
    p->at += is_braced;
    return OK;
}

static void parse_literal(struct parser *p, struct part *part)
{
    struct buf text;

    buf_init(&text, strlen(p->at));
    while (*p->at && *p->at != '$') {
        if (p->at[0] == '\\' && p->at[1] == '$')
            p->at++;
        buf_addc(&text, *p->at++);
    }
    part->literal = buf_take(&text);
}

static enum status parse_parts(struct parser *p)
{
    struct route_expression *expression = p->expression;

    if (!*p->at)
        return fail_at(p, "it is empty");
    while (*p->at) {
        struct part *part = &expression->parts[expression->part_count];
        enum status st = OK;

        if (expression->part_count == MAX_PARTS)
            return fail_at(p, "too many variables");
        expression->part_count++;
        if (*p->at == '$') {
            p->at++;
            st = parse_variable(p, part);
        } else {
            parse_literal(p, part);
        }
        if (st)
            return st;
    }
    return OK;
}

enum status route_compile(const char *text, struct route_expression **out, struct error *err)
{
    struct route_expression *expression = mem_alloc(sizeof(*expression));
    struct parser p = {text, text, expression, err};
    enum status st;

    expression->is_scannable = true;
    st = parse_parts(&p);
    if (st) {
        route_free(expression);
        return st;
    }
    /* Nobody may name a key with a dollar, so nothing has to be evaluated. */
    expression->is_always_default =
        expression->parts[0].literal && expression->parts[0].literal[0] == '$';
    *out = expression;
    return OK;
}

void route_free(struct route_expression *expression)
{
    if (!expression)
        return;
    for (size_t i = 0; i < expression->part_count; i++) {
        struct part *part = &expression->parts[i];

        free(part->literal);
        for (size_t j = 0; j < part->step_count; j++)
            free(part->steps[j].name);
    }
    free(expression);
}

/* ---- by a tree ---- */

/* Compact JSON; by way of a buffer of its own, because a value behind other text would be given a
 * comma. */
static void add_json(struct buf *key, const struct json *value)
{
    struct buf text;

    buf_init(&text, key->limit + 1);
    json_write(&text, NULL, value);
    if (buf_full(&text))
        key->full = true;
    else
        buf_add(key, text.data, text.len);
    buf_done(&text);
}

/* A list as Java prints it, which is what API Gateway does: [x, y]. */
static void add_value(struct buf *key, const struct json *value)
{
    if (json_type(value) == JSON_STRING) {
        buf_adds(key, json_text(value));
        return;
    }
    if (json_type(value) != JSON_ARRAY) {
        add_json(key, value);
        return;
    }
    buf_addc(key, '[');
    for (const struct json *it = json_first(value); it; it = json_next(it)) {
        if (it != json_first(value))
            buf_adds(key, ", ");
        add_value(key, it);
    }
    buf_addc(key, ']');
}

/* Adds every value that the steps lead to, with a comma between them; returns how many. */
static size_t add_matches(struct buf *key, const struct json *value, const struct step *steps,
                          size_t count, size_t found)
{
    if (!value)
        return found;
    if (count == 0) {
        if (found)
            buf_adds(key, ", ");
        add_value(key, value);
        return found + 1;
    }
    switch (steps->kind) {
    case STEP_NAME:
        return add_matches(key, json_get(value, steps->name), steps + 1, count - 1, found);
    case STEP_INDEX:
        return add_matches(key, json_at(value, steps->index), steps + 1, count - 1, found);
    case STEP_ALL:
        break;
    }
    if (json_type(value) != JSON_OBJECT && json_type(value) != JSON_ARRAY)
        return found;
    for (const struct json *it = json_first(value); it; it = json_next(it))
        found = add_matches(key, it, steps + 1, count - 1, found);
    return found;
}

static void add_variable(struct buf *key, const struct part *part, const struct json *body)
{
    size_t start = key->len;

    if (part->is_list)
        buf_addc(key, '[');
    if (add_matches(key, body, part->steps, part->step_count, 0) == 0)
        key->len = start; /* missing: no text at all */
    else if (part->is_list)
        buf_addc(key, ']');
}

/* False when the body is no JSON object or array. */
static bool evaluate_by_tree(const struct route_expression *expression, const char *body,
                             size_t len, struct buf *key)
{
    struct json *tree = NULL;
    bool is_good;

    if (json_parse(body, len, &tree, NULL))
        return false;
    is_good = json_type(tree) == JSON_OBJECT || json_type(tree) == JSON_ARRAY;
    for (size_t i = 0; is_good && i < expression->part_count; i++) {
        const struct part *part = &expression->parts[i];

        if (part->literal)
            buf_adds(key, part->literal);
        else
            add_variable(key, part, tree);
    }
    json_free(tree);
    return is_good;
}

/* ---- by scanning ---- */

static enum json_lookup scan_variable(const struct part *part, const char *body, size_t len,
                                      struct buf *key)
{
    const char *path[MAX_STEPS];
    const char *value;
    size_t value_len;
    enum json_lookup result;

    for (size_t i = 0; i < part->step_count; i++)
        path[i] = part->steps[i].name;
    result = json_lookup(body, len, path, part->step_count, &value, &value_len);
    if (result == JSON_LOOKUP_PLAIN)
        buf_add(key, value, value_len);
    return result;
}

/* PLAIN: the key was added.  INVALID: there is none.  TREE: this is not the way; what was added to
 * key is to be forgotten. */
static enum json_lookup evaluate_by_scan(const struct route_expression *expression,
                                         const char *body, size_t len, struct buf *key)
{
    bool has_variable = false;

    for (size_t i = 0; i < expression->part_count; i++) {
        const struct part *part = &expression->parts[i];
        enum json_lookup result;

        if (part->literal) {
            buf_adds(key, part->literal);
            continue;
        }
        has_variable = true;
        result = scan_variable(part, body, len, key);
        if (result == JSON_LOOKUP_INVALID || result == JSON_LOOKUP_TREE)
            return result;
    }
    /* Without one nobody has looked whether the body is JSON. */
    return has_variable ? JSON_LOOKUP_PLAIN : JSON_LOOKUP_TREE;
}

static bool evaluate(const struct route_expression *expression, const char *body, size_t len,
                     struct buf *key)
{
    size_t start = key->len;

    if (expression->is_always_default)
        return false;
    if (expression->is_scannable) {
        enum json_lookup result = evaluate_by_scan(expression, body, len, key);

        if (result != JSON_LOOKUP_TREE)
            return result == JSON_LOOKUP_PLAIN;
        key->len = start;
        key->full = false;
    }
    return evaluate_by_tree(expression, body, len, key);
}

void route_select(const struct route_expression *expression, const char *body, size_t len,
                  struct buf *key)
{
    size_t start = key->len;
    bool is_good = evaluate(expression, body, len, key);

    if (is_good && !buf_full(key) && key->len > start && key->data[start] != '$')
        return;
    key->len = start;
    key->full = false;
    buf_adds(key, "$default");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_expression.c - what stands behind a dollar, and between parentheses.
 */
#include "template_internal.h"

#include <stdlib.h>
#include <string.h>

static struct expr *new_expr(struct parser *p, enum expr_kind kind)
{
    struct expr *expr = arena_alloc(&p->template->arena, sizeof(*expr));

    expr->kind = kind;
    expr->depth = 1;
    return expr;
}

/* Evaluation is a recursion; a chain of operators is a deep tree without a parenthesis in it. */
static enum status check_depth(struct parser *p, struct expr *expr, const struct expr *below)
{
    for (; below; below = below->next) {
        if (expr->depth <= below->depth)
            expr->depth = below->depth + 1;
    }
    if (expr->depth > TEMPLATE_EXPR_DEPTH)
        return parser_fail(p, "an expression with more than %d levels", TEMPLATE_EXPR_DEPTH);
    return OK;
}

/* ---- items between brackets ---- */

/* Expressions up to the closing bracket, which is skipped; separators alternate (", " and ": " of
 * maps). */
static enum status parse_items(struct parser *p, const char *close, const char *separators,
                               struct expr **out)
{
    struct expr **tail = out;
    size_t count = 0;

    parser_skip_blanks(p);
    if (parser_skip(p, close))
        return OK;
    for (;;) {
        char separator[2] = {separators[count++ % strlen(separators)], '\0'};
        enum status st = parse_expression(p, tail);

        if (st)
            return st;
        tail = &(*tail)->next;
        parser_skip_blanks(p);
        if (parser_skip(p, separator))
            continue;
        if (separator[0] != ':' && parser_skip(p, close))
            return OK;
        return parser_fail(p, "%s or %s is expected", separator, close);
    }
}

static size_t count_items(const struct expr *items)
{
    size_t count = 0;

    for (; items; items = items->next)
        count++;
    return count;
}

/* ---- replaceAll ---- */

/* The text that a regular expression without operators matches; false when there are operators. */
static bool literal_of_pattern(struct slice pattern, struct buf *out)
{
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.data[i];

        if (c == '\\') {
            if (++i == pattern.len)
                return false;
            c = pattern.data[i];
            if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
                return false;
        } else if (c == '\0' || strchr(".^$*+?()[]{}|", c)) {
            return false;
        }
        buf_addc(out, c);
    }
    return out->len > 0;
}

/* The text that is put in: no groups. */
static bool literal_of_replacement(struct slice replacement, struct buf *out)
{
    for (size_t i = 0; i < replacement.len; i++) {
        if (replacement.data[i] == '$')
            return false;
        if (replacement.data[i] == '\\' && ++i == replacement.len)
            return false;
        buf_addc(out, replacement.data[i]);
    }
    return true;
}

static bool make_literal(struct parser *p, struct expr *arg,
                         bool (*literal_of)(struct slice, struct buf *))
{
    struct buf text;
    char *copy;
    bool is_good;

    if (arg->kind != EXPR_CONSTANT || arg->constant.kind != VALUE_TEXT)
        return false;
    buf_init(&text, SIZE_MAX);
    is_good = literal_of(arg->constant.text, &text);
    copy = arena_alloc(&p->template->arena, text.len);
    if (text.len)
        memcpy(copy, text.data, text.len);
    arg->constant.text = (struct slice){copy, text.len};
    buf_done(&text);
    return is_good;
}

/* Java's replaceAll takes regular expressions.  Those that are plain text, which is what templates
 * have to undo an escape, become .replace(). */
static enum status parse_replace_all(struct parser *p, struct step *step)
{
    if (count_items(step->args) != 2 || !make_literal(p, step->args, literal_of_pattern) ||
        !make_literal(p, step->args->next, literal_of_replacement))
        return parser_fail(p, "replaceAll is supported with two plain texts only, without "
                              "operators of regular expressions");
    step->method = find_value_method((struct slice){"replace", 7}, 2);
    return OK;
}

/* ---- steps of a reference ---- */

static enum status compile_constant_path(struct parser *p, struct step *step)
{
    const struct expr *arg = step->args;
    struct error problem = {.text = ""};

    if (arg->kind != EXPR_CONSTANT || arg->constant.kind != VALUE_TEXT)
        return OK; /* known when it is rendered */
    if (template_compile_path(arg->constant.text, &step->path, &problem))
        return parser_fail(p, "%s", problem.text);
    template_own_path(p->template, step->path);
    return OK;
}

static enum status parse_method(struct parser *p, enum root root, bool is_first, struct step *step)
{
    enum status st = parser_enter(p);
    int len = (int)step->name.len;
    size_t count;

    if (!st)
        st = parse_items(p, ")", ",", &step->args);
    parser_leave(p);
    if (st)
        return st;
    step->kind = STEP_METHOD;
    count = count_items(step->args);
    if (is_first && root == ROOT_UTIL)
        step->method = find_util_method(step->name, count);
    else if (is_first && root == ROOT_INPUT)
        step->method = find_input_method(step->name, count);
    else if (slice_is(step->name, "replaceAll"))
        return parse_replace_all(p, step);
    else
        step->method = find_value_method(step->name, count);
    if (!step->method)
        return parser_fail(p, "the method %.*s with %zu arguments is not supported",
                           len < 50 ? len : 50, step->name.data, count);
    return is_path_method(step->method) ? compile_constant_path(p, step) : OK;
}

static enum status parse_index(struct parser *p, struct step *step)
{
    enum status st = parser_enter(p);

    step->kind = STEP_INDEX;
    if (!st)
        st = parse_items(p, "]", ",", &step->args);
    parser_leave(p);
    if (!st && count_items(step->args) != 1)
        return parser_fail(p, "one index between [ and ] is expected");
    return st;
}

static bool is_foreach_property(struct slice name)
{
    return slice_is(name, "index") || slice_is(name, "count") || slice_is(name, "hasNext") ||
           slice_is(name, "first") || slice_is(name, "last");
}

static bool is_known_property(enum root root, const struct step *step)
{
    if (root == ROOT_INPUT)
        return slice_is(step->name, "body");
    if (root == ROOT_FOREACH)
        return is_foreach_property(step->name);
    return root != ROOT_UTIL;
}

/* At a dot that has a letter behind it, or at a bracket. */
static enum status parse_step(struct parser *p, enum root root, bool is_first, struct step *step)
{
    if (parser_skip(p, "["))
        return parse_index(p, step);
    p->at++;
    step->name = parser_identifier(p);
    if (parser_skip(p, "("))
        return parse_method(p, root, is_first, step);
    step->kind = STEP_PROPERTY;
    if (is_first && !is_known_property(root, step))
        return parser_fail(p, "the property %.*s is not supported here", (int)step->name.len,
                           step->name.data);
    return OK;
}

static bool is_step(const struct parser *p)
{
    char next = (char)(parser_peek(p, 1) | 0x20);

    return parser_peek(p, 0) == '[' ||
           (parser_peek(p, 0) == '.' && ((next >= 'a' && next <= 'z') || parser_peek(p, 1) == '_'));
}

static enum status parse_steps(struct parser *p, struct reference *reference)
{
    struct step **tail = &reference->steps;

    while (*tail)
        tail = &(*tail)->next;
    for (bool is_first = !reference->steps; is_step(p); is_first = false) {
        struct step *step = arena_alloc(&p->template->arena, sizeof(*step));
        enum status st = parse_step(p, reference->root, is_first, step);

        if (st)
            return st;
        *tail = step;
        tail = &step->next;
    }
    return OK;
}

/* ---- references ---- */

static const struct {
    const char *name;
    enum root root;
} roots[] = {{"input", ROOT_INPUT},
             {"context", ROOT_CONTEXT},
             {"stageVariables", ROOT_STAGE_VARIABLES},
             {"util", ROOT_UTIL},
             {"foreach", ROOT_FOREACH}};

/* What $foreach.count and $foreach.hasNext were called before. */
static const char *old_foreach_name(struct slice name)
{
    if (slice_is(name, "velocityCount"))
        return "count";
    return slice_is(name, "velocityHasNext") ? "hasNext" : NULL;
}

bool is_reserved_name(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        if (slice_is(name, roots[i].name))
            return true;
    }
    return old_foreach_name(name) != NULL;
}

static enum status parse_root(struct parser *p, struct slice name, struct reference *reference)
{
    const char *old_name = old_foreach_name(name);

    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        if (slice_is(name, roots[i].name)) {
            reference->root = roots[i].root;
            return OK;
        }
    }
    if (!old_name)
        return parser_slot(p, name, &reference->slot);
    reference->root = ROOT_FOREACH;
    reference->steps = arena_alloc(&p->template->arena, sizeof(*reference->steps));
    reference->steps->name = (struct slice){old_name, strlen(old_name)};
    return OK;
}

static enum status check_reference(struct parser *p, struct slice name,
                                   const struct reference *reference)
{
    const struct step *first = reference->steps;
    enum root root = reference->root;

    if (root == ROOT_VARIABLE || root == ROOT_CONTEXT || root == ROOT_STAGE_VARIABLES)
        return OK;
    if (!first || first->kind == STEP_INDEX)
        return parser_fail(p, "$%.*s alone is not supported", (int)name.len, name.data);
    if (root == ROOT_FOREACH && first->kind == STEP_METHOD)
        return parser_fail(p, "$foreach has no methods");
    return OK;
}

/* Behind the identifier. */
static enum status finish_reference(struct parser *p, struct slice name, bool is_braced,
                                    struct reference *reference)
{
    enum status st = parse_root(p, name, reference);

    if (!st)
        st = parse_steps(p, reference);
    if (!st)
        st = check_reference(p, name, reference);
    if (st || !is_braced || parser_skip(p, "}"))
        return st;
    if (parser_peek(p, 0) == '|')
        return parser_fail(p, "an alternate value (${name|...}) is not supported");
    return parser_fail(p, "} is expected behind ${%.*s", (int)name.len, name.data);
}

enum status parse_reference(struct parser *p, struct reference **out)
{
    const char *start = p->at++;
    bool is_silent = parser_skip(p, "!");
    bool is_braced = parser_skip(p, "{");
    struct slice name = parser_identifier(p);
    struct reference *reference;
    enum status st;

    if (name.len == 0) {
        p->at = start;
        return OK;
    }
    reference = arena_alloc(&p->template->arena, sizeof(*reference));
    reference->is_silent = is_silent;
    st = finish_reference(p, name, is_braced, reference);
    reference->source = (struct slice){start, (size_t)(p->at - start)};
    *out = reference;
    return st;
}

/* Behind the arguments of its methods it is deeper than one. */
static enum status parse_reference_expr(struct parser *p, struct expr **out)
{
    struct expr *expr = new_expr(p, EXPR_REFERENCE);
    enum status st = parse_reference(p, &expr->reference);

    if (st)
        return st;
    if (!expr->reference)
        return parser_fail(p, "the name of a variable is expected behind $");
    for (const struct step *it = expr->reference->steps; it && !st; it = it->next)
        st = check_depth(p, expr, it->args);
    *out = expr;
    return st;
}

/* ---- literals ---- */

/* From the opening quote to behind the closing one.  A quote in it is written twice; Velocity knows
 * no other escape, and \" would look like one. */
static enum status scan_string(struct parser *p, struct buf *text)
{
    char quote = *p->at++;
    size_t backslashes = 0;

    for (;; p->at++) {
        if (p->at == p->end)
            return parser_fail(p, "a closing %c is missing", quote);
        if (*p->at == quote && backslashes % 2 == 1)
            return parser_fail(p, "a %c inside a text is written twice, not behind a backslash",
                               quote);
        if (*p->at == quote && parser_peek(p, 1) != quote)
            break;
        backslashes = *p->at == '\\' ? backslashes + 1 : 0;
        p->at += *p->at == quote;
        buf_addc(text, *p->at);
    }
    p->at++;
    return OK;
}

/* What stands in double quotes is a template of its own. */
static enum status parse_inner(struct parser *p, struct slice text, unsigned line,
                               struct expr *expr)
{
    struct parser inner = {.template = p->template,
                           .start = text.data,
                           .at = text.data,
                           .end = text.data + text.len,
                           .line_at = text.data,
                           .line = line,
                           .depth = p->depth,
                           .string_depth = p->string_depth + 1,
                           .err = p->err};
    enum status st;

    if (inner.string_depth > TEMPLATE_STRING_DEPTH)
        return parser_fail(p, "texts in texts more than %d deep", TEMPLATE_STRING_DEPTH);
    st = parse_template(&inner, &expr->string);
    if (st)
        return st;
    if (!expr->string || expr->string->kind != NODE_TEXT || expr->string->next)
        expr->kind = EXPR_STRING;
    else
        expr->constant.text = expr->string->text; /* its dollars were mere characters */
    return OK;
}

static enum status parse_string(struct parser *p, struct expr *expr)
{
    bool is_template = *p->at == '"';
    unsigned line = parser_line(p);
    struct slice copy;
    struct buf text;
    enum status st;
    char *bytes;

    buf_init(&text, SIZE_MAX);
    st = scan_string(p, &text);
    bytes = arena_alloc(&p->template->arena, text.len);
    if (text.len)
        memcpy(bytes, text.data, text.len);
    copy = (struct slice){bytes, text.len};
    buf_done(&text);
    if (st)
        return st;
    expr->constant = value_of_text(copy.data, copy.len);
    if (is_template && (memchr(copy.data, '$', copy.len) || memchr(copy.data, '#', copy.len)))
        return parse_inner(p, copy, line, expr);
    return OK;
}

static enum status parse_number(struct parser *p, struct expr *expr)
{
    char digits[40] = {0};
    size_t len = 0;
    bool is_decimal = false;

    if (parser_peek(p, 0) == '-')
        digits[len++] = *p->at++;
    for (;; p->at++) {
        char c = parser_peek(p, 0);
        char next = parser_peek(p, 1);

        if (c == '.' && !is_decimal && next >= '0' && next <= '9')
            is_decimal = true;
        else if (c < '0' || c > '9')
            break;
        if (len == 18)
            return parser_fail(p, "a number with more than 17 digits");
        digits[len++] = c;
    }
    if (is_decimal)
        expr->constant = (struct value){.kind = VALUE_DECIMAL, .decimal = strtod(digits, NULL)};
    else
        expr->constant = value_of_integer(strtoll(digits, NULL, 10));
    return OK;
}

static enum status parse_list(struct parser *p, struct expr *expr)
{
    enum status st;

    expr->kind = EXPR_LIST;
    parser_skip_blanks(p);
    if (parser_skip(p, "]"))
        return OK;
    st = parse_expression(p, &expr->items);
    if (st)
        return st;
    parser_skip_blanks(p);
    if (parser_skip(p, "..")) {
        expr->kind = EXPR_RANGE;
        st = parse_expression(p, &expr->items->next);
        parser_skip_blanks(p);
        if (!st && !parser_skip(p, "]"))
            return parser_fail(p, "] is expected behind a range");
    } else if (parser_skip(p, ",")) {
        st = parse_items(p, "]", ",", &expr->items->next);
    } else if (!parser_skip(p, "]")) {
        return parser_fail(p, ", or ] is expected");
    }
    return st ? st : check_depth(p, expr, expr->items);
}

static enum status parse_map(struct parser *p, struct expr *expr)
{
    enum status st = parse_items(p, "}", ":,", &expr->items);

    expr->kind = EXPR_MAP;
    return st ? st : check_depth(p, expr, expr->items);
}

/* A word that is no reference. */
static enum status parse_word(struct parser *p, struct expr *expr)
{
    struct slice name = parser_identifier(p);

    if (!slice_is(name, "true") && !slice_is(name, "false"))
        return parser_fail(p, name.len ? "\"%.*s\" is not known here" : "a value is expected",
                           (int)(name.len < 50 ? name.len : 50), name.data);
    expr->constant = value_of_bool(slice_is(name, "true"));
    return OK;
}

/* ---- expressions ---- */

static enum status parse_unary(struct parser *p, struct expr **out);

/* Behind an opening parenthesis. */
static enum status parse_group(struct parser *p, struct expr **out)
{
    enum status st = parse_expression(p, out);

    parser_skip_blanks(p);
    if (!st && !parser_skip(p, ")"))
        return parser_fail(p, ") is expected");
    return st;
}

static enum status parse_not(struct parser *p, struct expr **out)
{
    struct expr *expr = new_expr(p, EXPR_NOT);
    enum status st = parse_unary(p, &expr->items);

    *out = expr;
    return st ? st : check_depth(p, expr, expr->items);
}

static enum status parse_constant(struct parser *p, struct expr **out)
{
    struct expr *expr = new_expr(p, EXPR_CONSTANT);
    char c = parser_peek(p, 0);
    char next = parser_peek(p, 1);

    *out = expr;
    if (c == '"' || c == '\'')
        return parse_string(p, expr);
    if (parser_skip(p, "["))
        return parse_list(p, expr);
    if (parser_skip(p, "{"))
        return parse_map(p, expr);
    if ((c >= '0' && c <= '9') || (c == '-' && next >= '0' && next <= '9'))
        return parse_number(p, expr);
    return parse_word(p, expr);
}

/* True, and skipped, when the word stands there alone. */
static bool skip_word(struct parser *p, const char *word)
{
    const char *start = p->at;

    if (slice_is(parser_identifier(p), word))
        return true;
    p->at = start;
    return false;
}

static enum status parse_operand(struct parser *p, struct expr **out)
{
    if (parser_skip(p, "("))
        return parse_group(p, out);
    if (parser_skip(p, "!") || skip_word(p, "not"))
        return parse_not(p, out);
    if (parser_peek(p, 0) == '$')
        return parse_reference_expr(p, out);
    return parse_constant(p, out);
}

static enum status parse_unary(struct parser *p, struct expr **out)
{
    enum status st = parser_enter(p);

    parser_skip_blanks(p);
    if (!st)
        st = parse_operand(p, out);
    parser_leave(p);
    return st;
}

/* Longer ones first; words stand alone. */
static const struct {
    const char *text;
    enum operator op;
    unsigned level;
} operators[] = {{"||", OP_OR, 1},
                 {"or", OP_OR, 1},
                 {"&&", OP_AND, 2},
                 {"and", OP_AND, 2},
                 {"==", OP_EQUAL, 3},
                 {"eq", OP_EQUAL, 3},
                 {"!=", OP_UNEQUAL, 3},
                 {"ne", OP_UNEQUAL, 3},
                 {"<=", OP_LESS_EQUAL, 4},
                 {"le", OP_LESS_EQUAL, 4},
                 {"<", OP_LESS, 4},
                 {"lt", OP_LESS, 4},
                 {">=", OP_GREATER_EQUAL, 4},
                 {"ge", OP_GREATER_EQUAL, 4},
                 {">", OP_GREATER, 4},
                 {"gt", OP_GREATER, 4},
                 {"+", OP_ADD, 5},
                 {"-", OP_SUBTRACT, 5},
                 {"*", OP_MULTIPLY, 6},
                 {"/", OP_DIVIDE, 6},
                 {"%", OP_REMAINDER, 6}};

/* True, and skipped, when an operator of this level or a higher one stands there. */
static bool skip_operator(struct parser *p, unsigned level, enum operator* op, unsigned *found)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        char first = operators[i].text[0];
        const char *start = p->at;

        if (!(first >= 'a' && first <= 'z' ? skip_word(p, operators[i].text)
                                           : parser_skip(p, operators[i].text)))
            continue;
        *op = operators[i].op;
        *found = operators[i].level;
        if (operators[i].level >= level)
            return true;
        p->at = start;
        return false;
    }
    return false;
}

/* Operators of this level and above: the higher the level, the closer they bind. */
static enum status parse_binary(struct parser *p, unsigned level, struct expr **out)
{
    enum status st = parse_unary(p, out);
    enum operator op;
    unsigned found;

    while (!st) {
        struct expr *expr;

        parser_skip_blanks(p);
        if (!skip_operator(p, level, &op, &found))
            break;
        expr = new_expr(p, EXPR_BINARY);
        expr->op = op;
        expr->items = *out;
        *out = expr;
        st = parse_binary(p, found + 1, &expr->items->next);
        if (!st)
            st = check_depth(p, expr, expr->items);
    }
    return st;
}

enum status parse_expression(struct parser *p, struct expr **out)
{
    return parse_binary(p, 1, out);
}

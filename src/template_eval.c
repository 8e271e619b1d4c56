/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_eval.c - walking the tree of a template.
 *
 * What a peer sends decides how long a loop is, so everything that can be repeated is counted: a
 * step is a node, an operator, a call, 16 members that were looked at, a kilobyte that was read.
 */
#include "template_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 100000, MEMORY_BYTES = 32 * 1024 * 1024 };

struct owned_tree {
    struct json *tree;
    struct owned_tree *next;
};

/* ---- bounds ---- */

enum status eval_fail(struct eval *eval, enum status status, const char *fmt, ...)
{
    char text[300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail(eval->err, status, "line %u: %s", eval->line, text);
}

enum status eval_spend(struct eval *eval, size_t steps)
{
    if (steps > MAX_STEPS - eval->steps)
        return eval_fail(eval, LIMIT, "the template takes more than %d steps", MAX_STEPS);
    eval->steps += steps;
    return OK;
}

size_t eval_room(const struct eval *eval)
{
    return eval->arena.limit - eval->arena.used;
}

enum status eval_charge(struct eval *eval, size_t size)
{
    if (size > eval_room(eval))
        return eval_fail(eval, LIMIT, "the template needs more than %d MB",
                         MEMORY_BYTES / (1024 * 1024));
    eval->arena.used += size;
    return OK;
}

enum status eval_alloc(struct eval *eval, size_t size, void **out)
{
    *out = arena_alloc(&eval->arena, size);
    return *out ? OK : eval_charge(eval, SIZE_MAX);
}

enum status eval_take(struct eval *eval, struct buf *text, struct value *out)
{
    void *copy = NULL;
    enum status st = eval_alloc(eval, buf_full(text) ? SIZE_MAX : text->len, &copy);

    if (!st && text->len)
        memcpy(copy, text->data, text->len);
    if (!st)
        *out = value_of_text(copy, text->len);
    buf_done(text);
    return st;
}

enum status eval_own_tree(struct eval *eval, struct json *tree)
{
    void *owned;
    enum status st = eval_alloc(eval, sizeof(struct owned_tree), &owned);

    if (st) {
        json_free(tree);
        return st;
    }
    *(struct owned_tree *)owned = (struct owned_tree){tree, eval->trees};
    eval->trees = owned;
    return OK;
}

/* ---- references ---- */

static enum status eval_expr(struct eval *eval, const struct expr *expr, struct value *out);
static enum status eval_nodes(struct eval *eval, const struct node *node, struct buf *out);

static void foreach_value(const struct eval *eval, struct slice name, struct value *out)
{
    const struct loop_state *loop = eval->loop;

    if (!loop)
        return;
    if (slice_is(name, "index"))
        *out = value_of_integer((int64_t)loop->index);
    else if (slice_is(name, "count"))
        *out = value_of_integer((int64_t)loop->index + 1);
    else if (slice_is(name, "first"))
        *out = value_of_bool(loop->index == 0);
    else
        *out = value_of_bool(slice_is(name, "last") == (loop->index + 1 == loop->count));
}

static enum status context_value(struct eval *eval, struct value *out)
{
    struct buf text;
    enum status st = OK;

    if (!eval->context) {
        buf_init(&text, SIZE_MAX); /* no larger than the event makes it */
        request_context_json(eval->values->context, &text);
        st = json_parse(buf_str(&text), text.len, &eval->context, NULL);
        buf_done(&text);
    }
    if (st)
        return eval_fail(eval, INTERNAL, "$context is not JSON");
    *out = value_of_json(eval->context);
    return OK;
}

static enum status root_value(struct eval *eval, const struct reference *reference,
                              struct value *out)
{
    switch (reference->root) {
    case ROOT_VARIABLE:
        *out = eval->slots[reference->slot];
        return OK;
    case ROOT_FOREACH:
        foreach_value(eval, reference->steps->name, out);
        return OK;
    case ROOT_INPUT:
        if (reference->steps->kind == STEP_PROPERTY && eval->values->body)
            *out = value_of_text(eval->values->body, eval->values->body_len);
        return OK;
    case ROOT_CONTEXT:
        return context_value(eval, out);
    case ROOT_STAGE_VARIABLES:
        if (!eval->values->stage_variables)
            return map_create(eval, out);
        *out = value_of_json(eval->values->stage_variables);
        return OK;
    case ROOT_UTIL:
        break;
    }
    return OK;
}

static enum status call(struct eval *eval, const struct step *step, const struct value *target,
                        struct value *out)
{
    struct value args[METHOD_ARGS];
    size_t count = 0;
    enum status st = OK;

    for (const struct expr *it = step->args; it && !st; it = it->next)
        st = eval_expr(eval, it, &args[count++]);
    if (st)
        return st;
    eval->step = step;
    return step->method->fn(eval, target, args, out);
}

static enum status take_step(struct eval *eval, const struct step *step, struct value *value)
{
    struct value target = *value;
    struct value index;
    enum status st = eval_spend(eval, 1);

    *value = (struct value){.kind = VALUE_UNDEFINED};
    if (st)
        return st;
    switch (step->kind) {
    case STEP_PROPERTY:
        st = value_property(eval, &target, step->name, value);
        break;
    case STEP_INDEX:
        st = eval_expr(eval, step->args, &index);
        if (!st)
            st = value_index(eval, &target, &index, value);
        break;
    case STEP_METHOD:
        st = call(eval, step, &target, value);
        break;
    }
    if (target.kind == VALUE_MISSING && value->kind == VALUE_UNDEFINED)
        value->kind = VALUE_MISSING;
    return st;
}

/* The property of $input and $foreach is what root_value gave. */
static const struct step *first_step(const struct reference *reference)
{
    bool is_done = reference->root == ROOT_FOREACH ||
                   (reference->root == ROOT_INPUT && reference->steps->kind == STEP_PROPERTY);

    return is_done ? reference->steps->next : reference->steps;
}

static enum status eval_reference(struct eval *eval, const struct reference *reference,
                                  struct value *out)
{
    enum status st;

    *out = (struct value){.kind = VALUE_UNDEFINED};
    st = root_value(eval, reference, out);
    for (const struct step *it = first_step(reference); it && !st; it = it->next)
        st = take_step(eval, it, out);
    if (out->kind == VALUE_UNDEFINED &&
        (reference->root == ROOT_INPUT || reference->root == ROOT_CONTEXT ||
         reference->root == ROOT_STAGE_VARIABLES))
        out->kind = VALUE_MISSING;
    return st;
}

/* ---- operators ---- */

static double as_decimal(const struct value *value)
{
    return value->kind == VALUE_INTEGER ? (double)value->integer : value->decimal;
}

static bool is_number(const struct value *value)
{
    return value->kind == VALUE_INTEGER || value->kind == VALUE_DECIMAL;
}

static enum status calculate_integers(struct eval *eval, enum operator op,
                                      const struct value *operands, struct value *out)
{
    int64_t a = operands[0].integer;
    int64_t b = operands[1].integer;
    int64_t result = 0;
    bool is_over = false;

    if (op == OP_ADD)
        is_over = __builtin_add_overflow(a, b, &result);
    else if (op == OP_SUBTRACT)
        is_over = __builtin_sub_overflow(a, b, &result);
    else if (op == OP_MULTIPLY)
        is_over = __builtin_mul_overflow(a, b, &result);
    else if (b == 0)
        return OK; /* has no value */
    else if (b == -1 && op == OP_DIVIDE)
        is_over = __builtin_sub_overflow(0, a, &result);
    else if (b != -1)
        result = op == OP_DIVIDE ? a / b : a % b;
    if (is_over)
        return eval_fail(eval, INVALID, "the result of a calculation has more than 64 bits");
    *out = value_of_integer(result);
    return OK;
}

static void calculate_decimals(enum operator op, double a, double b, struct value *out)
{
    if (op == OP_REMAINDER || (op == OP_DIVIDE && b == 0))
        return; /* has no value */
    out->kind = VALUE_DECIMAL;
    if (op == OP_ADD)
        out->decimal = a + b;
    else if (op == OP_SUBTRACT)
        out->decimal = a - b;
    else
        out->decimal = op == OP_MULTIPLY ? a * b : a / b;
}

static enum status concatenate(struct eval *eval, const struct value *operands, struct value *out)
{
    struct buf text;
    enum status st;

    buf_init(&text, eval_room(eval));
    st = value_print(eval, &operands[0], &text);
    if (!st)
        st = value_print(eval, &operands[1], &text);
    if (!st)
        return eval_take(eval, &text, out);
    buf_done(&text);
    return st;
}

static enum status calculate(struct eval *eval, enum operator op, const struct value *operands,
                             struct value *out)
{
    if (op == OP_ADD && (operands[0].kind == VALUE_TEXT || operands[1].kind == VALUE_TEXT))
        return concatenate(eval, operands, out);
    if (!is_number(&operands[0]) || !is_number(&operands[1]))
        return OK; /* has no value, as in Velocity */
    if (operands[0].kind == VALUE_INTEGER && operands[1].kind == VALUE_INTEGER)
        return calculate_integers(eval, op, operands, out);
    calculate_decimals(op, as_decimal(&operands[0]), as_decimal(&operands[1]), out);
    return OK;
}

/* What is no number is neither less nor greater. */
static bool compare(enum operator op, const struct value *a, const struct value *b)
{
    bool is_less;
    bool is_greater;

    if (!is_number(a) || !is_number(b))
        return false;
    if (a->kind == VALUE_INTEGER && b->kind == VALUE_INTEGER) {
        is_less = a->integer < b->integer;
        is_greater = a->integer > b->integer;
    } else {
        is_less = as_decimal(a) < as_decimal(b);
        is_greater = as_decimal(a) > as_decimal(b);
    }
    if (op == OP_LESS)
        return is_less;
    if (op == OP_GREATER)
        return is_greater;
    return op == OP_LESS_EQUAL ? !is_greater : !is_less;
}

static enum status eval_logic(struct eval *eval, const struct expr *expr, struct value *out)
{
    struct value value;
    enum status st = eval_expr(eval, expr->items, &value);

    if (!st && value_is_true(&value) == (expr->op == OP_AND))
        st = eval_expr(eval, expr->items->next, &value);
    *out = value_of_bool(!st && value_is_true(&value));
    return st;
}

static enum status eval_binary(struct eval *eval, const struct expr *expr, struct value *out)
{
    struct value operands[2];
    bool is_equal;
    enum status st;

    if (expr->op == OP_OR || expr->op == OP_AND)
        return eval_logic(eval, expr, out);
    st = eval_expr(eval, expr->items, &operands[0]);
    if (!st)
        st = eval_expr(eval, expr->items->next, &operands[1]);
    if (st)
        return st;
    switch (expr->op) {
    case OP_EQUAL:
    case OP_UNEQUAL:
        st = value_is_equal(eval, &operands[0], &operands[1], &is_equal);
        *out = value_of_bool(!st && is_equal == (expr->op == OP_EQUAL));
        return st;
    case OP_LESS:
    case OP_LESS_EQUAL:
    case OP_GREATER:
    case OP_GREATER_EQUAL:
        *out = value_of_bool(compare(expr->op, &operands[0], &operands[1]));
        return OK;
    case OP_OR:
    case OP_AND:
    case OP_ADD:
    case OP_SUBTRACT:
    case OP_MULTIPLY:
    case OP_DIVIDE:
    case OP_REMAINDER:
        break;
    }
    return calculate(eval, expr->op, operands, out);
}

/* ---- other expressions ---- */

static enum status eval_string(struct eval *eval, const struct expr *expr, struct value *out)
{
    struct buf text;
    enum status st;

    buf_init(&text, eval_room(eval));
    st = eval_nodes(eval, expr->string, &text);
    if (!st || buf_full(&text))
        return eval_take(eval, &text, out);
    buf_done(&text);
    return st;
}

static enum status eval_list(struct eval *eval, const struct expr *expr, struct value *out)
{
    enum status st = list_create(eval, out);
    struct value item;

    for (const struct expr *it = expr->items; it && !st; it = it->next) {
        st = eval_expr(eval, it, &item);
        if (!st)
            st = list_add(eval, out->list, &item);
    }
    return st;
}

static enum status eval_range(struct eval *eval, const struct expr *expr, struct value *out)
{
    struct value first = {0};
    struct value last = {0};
    struct value item;
    enum status st = eval_expr(eval, expr->items, &first);

    if (!st)
        st = eval_expr(eval, expr->items->next, &last);
    if (st || first.kind != VALUE_INTEGER || last.kind != VALUE_INTEGER)
        return st;
    st = list_create(eval, out);
    for (item = first; !st; item.integer += first.integer < last.integer ? 1 : -1) {
        st = eval_spend(eval, 1);
        if (!st)
            st = list_add(eval, out->list, &item);
        if (item.integer == last.integer)
            break;
    }
    return st;
}

static enum status eval_map(struct eval *eval, const struct expr *expr, struct value *out)
{
    enum status st = map_create(eval, out);

    for (const struct expr *it = expr->items; it && !st; it = it->next->next) {
        struct value key;
        struct value value;
        struct slice text = {0};

        st = eval_expr(eval, it, &key);
        if (!st)
            st = eval_expr(eval, it->next, &value);
        if (!st)
            st = value_text(eval, &key, &text);
        if (!st)
            st = map_put(eval, out->map, text, &value);
    }
    return st;
}

static enum status eval_expr(struct eval *eval, const struct expr *expr, struct value *out)
{
    enum status st = eval_spend(eval, 1);

    *out = (struct value){.kind = VALUE_UNDEFINED};
    if (st)
        return st;
    switch (expr->kind) {
    case EXPR_CONSTANT:
        *out = expr->constant;
        return OK;
    case EXPR_STRING:
        return eval_string(eval, expr, out);
    case EXPR_REFERENCE:
        return eval_reference(eval, expr->reference, out);
    case EXPR_LIST:
        return eval_list(eval, expr, out);
    case EXPR_RANGE:
        return eval_range(eval, expr, out);
    case EXPR_MAP:
        return eval_map(eval, expr, out);
    case EXPR_NOT:
        st = eval_expr(eval, expr->items, out);
        *out = value_of_bool(!value_is_true(out));
        return st;
    case EXPR_BINARY:
        break;
    }
    return eval_binary(eval, expr, out);
}

/* ---- nodes ---- */

static void add_backslashes(struct buf *out, size_t count)
{
    for (; count > 0; count--)
        buf_addc(out, '\\');
}

/* Backslashes escape what has a value: \$x is "$x", \\$x a backslash and the value. */
static enum status print_reference(struct eval *eval, const struct reference *reference,
                                   struct buf *out)
{
    struct value value;
    enum status st = eval_reference(eval, reference, &value);
    bool is_undefined = value.kind == VALUE_UNDEFINED;

    if (st)
        return st;
    add_backslashes(out, is_undefined ? reference->backslashes : reference->backslashes / 2);
    if (is_undefined ? !reference->is_silent || reference->backslashes
                     : reference->backslashes % 2 == 1)
        buf_add(out, reference->source.data, reference->source.len);
    else
        st = value_print(eval, &value, out);
    return st;
}

static enum status eval_if(struct eval *eval, const struct branch *branch, struct buf *out)
{
    for (; branch; branch = branch->next) {
        struct value condition = value_of_bool(true);
        enum status st = OK;

        if (branch->condition)
            st = eval_expr(eval, branch->condition, &condition);
        if (st)
            return st;
        if (value_is_true(&condition))
            return eval_nodes(eval, branch->body, out);
    }
    return OK;
}

/* How many there are is settled at the start: the body may add some. */
static enum status eval_foreach(struct eval *eval, const struct node *node, struct buf *out)
{
    struct value before = eval->slots[node->slot];
    struct loop_state loop = {.outer = eval->loop};
    struct value container;
    struct iterator it;
    struct slice key;
    enum status st = eval_expr(eval, node->expr, &container);

    if (st)
        return st;
    st = iterator_begin(eval, &it, &container);
    loop.count = it.count;
    eval->loop = &loop;
    while (!st && !eval->is_breaking && iterator_next(&it, &key, &eval->slots[node->slot])) {
        loop.index = it.index - 1;
        st = eval_spend(eval, 1);
        if (!st)
            st = eval_nodes(eval, node->body, out);
    }
    eval->is_breaking = false;
    eval->loop = loop.outer;
    eval->slots[node->slot] = before;
    return st;
}

/* What has no value is not assigned, as in Velocity. */
static enum status eval_set(struct eval *eval, const struct node *node)
{
    struct value value;
    enum status st = eval_expr(eval, node->expr, &value);

    if (!st && value.kind != VALUE_UNDEFINED)
        eval->slots[node->slot] = value;
    return st;
}

static enum status eval_node(struct eval *eval, const struct node *node, struct buf *out)
{
    enum status st = eval_spend(eval, 1);

    eval->line = node->line;
    if (st)
        return st;
    switch (node->kind) {
    case NODE_TEXT:
        buf_add(out, node->text.data, node->text.len);
        return OK;
    case NODE_REFERENCE:
        return print_reference(eval, node->reference, out);
    case NODE_SET:
        return eval_set(eval, node);
    case NODE_IF:
        return eval_if(eval, node->branches, out);
    case NODE_FOREACH:
        return eval_foreach(eval, node, out);
    case NODE_BREAK:
        eval->is_breaking = true;
        break;
    }
    return OK;
}

static enum status eval_nodes(struct eval *eval, const struct node *node, struct buf *out)
{
    enum status st = OK;

    for (; node && !st && !eval->is_breaking; node = node->next) {
        st = eval_node(eval, node, out);
        if (!st && buf_full(out))
            st = eval_fail(eval, LIMIT, "the output is larger than %zu bytes", out->limit);
    }
    return st;
}

bool template_is_constant(const struct template *template, struct buf *out)
{
    for (const struct node *node = template->nodes; node; node = node->next)
        if (node->kind != NODE_TEXT)
            return false;
    for (const struct node *node = template->nodes; node; node = node->next)
        buf_add(out, node->text.data, node->text.len);
    return !buf_full(out);
}

enum status template_render(const struct template *template, struct event_values *values,
                            struct buf *out, struct error *err)
{
    struct eval eval = {.template = template,
                        .values = values,
                        .arena = {.limit = MEMORY_BYTES},
                        .line = 1,
                        .err = err};
    enum status st;

    eval.slots = mem_alloc((template->name_count + 1) * sizeof(*eval.slots));
    st = eval_nodes(&eval, template->nodes, out);
    free(eval.slots);
    for (struct owned_tree *it = eval.trees; it; it = it->next)
        json_free(it->tree);
    json_free(eval.context);
    arena_done(&eval.arena);
    return st;
}

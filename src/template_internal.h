/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_internal.h - the tree of a compiled template and the values of one evaluation; for
 * template*.c.
 *
 * template_parse.c reads text and directives, template_expression.c what stands behind a dollar and
 * between parentheses; template_eval.c walks the tree; template_value.c and template_util.c have
 * what can be called.
 */
#pragma once

#include "json_path.h"
#include "template.h"

/* ---- memory that lives as long as a template, or one evaluation ---- */

struct chunk;

struct arena {
    struct chunk *chunks;
    size_t used;
    size_t limit;
};

/* Zeroed; NULL past the limit. */
void *arena_alloc(struct arena *arena, size_t size) MUST_USE;
void arena_done(struct arena *arena);

/* ---- values ---- */

enum value_kind {
    VALUE_UNDEFINED, /* no such thing; printed as the reference stands in the template */
    VALUE_MISSING,   /* API Gateway's own variables have it where there is nothing: printed as "" */
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_DECIMAL,
    VALUE_TEXT,
    VALUE_JSON, /* an array or object */
    VALUE_LIST,
    VALUE_MAP
};

struct value {
    enum value_kind kind;
    union {
        bool is_true;
        int64_t integer;
        double decimal;
        struct slice text; /* may have NULs */
        const struct json *json;
        struct list *list;
        struct map *map;
    };
};

struct list {
    struct value *items;
    size_t count;
    size_t cap;
};

struct entry {
    struct slice key;
    struct value value;
};

struct map {
    struct entry *entries;
    size_t count;
    size_t cap;
};

/* ---- the tree ---- */

struct eval;
struct expr;
struct node;

typedef enum status method_fn(struct eval *eval, const struct value *target,
                              const struct value *args, struct value *out);

struct method {
    const char *name;
    size_t arg_count;
    method_fn *fn;
};

enum { METHOD_ARGS = 2 };

enum step_kind { STEP_PROPERTY, STEP_INDEX, STEP_METHOD };

struct step {
    enum step_kind kind;
    struct slice name;           /* of a property */
    const struct method *method; /* of a method */
    struct expr *args;           /* of a method, or the index */
    struct json_path *path;      /* of $input.json and $input.path, when it is constant */
    struct step *next;
};

enum root {
    ROOT_VARIABLE,
    ROOT_FOREACH,
    ROOT_INPUT,
    ROOT_CONTEXT,
    ROOT_STAGE_VARIABLES,
    ROOT_UTIL
};

struct reference {
    enum root root;
    size_t slot; /* of a variable */
    bool is_silent;
    size_t backslashes;  /* in front of it */
    struct slice source; /* as it stands in the template */
    struct step *steps;
};

enum expr_kind {
    EXPR_CONSTANT,
    EXPR_STRING, /* in double quotes, with references in it */
    EXPR_REFERENCE,
    EXPR_LIST,
    EXPR_RANGE, /* [items .. items->next] */
    EXPR_MAP,   /* items: key, value, key, value */
    EXPR_NOT,
    EXPR_BINARY
};

enum operator{
    OP_OR,
    OP_AND,
    OP_EQUAL,
    OP_UNEQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_REMAINDER
};

struct expr {
    enum expr_kind kind;
    enum operator op;
    unsigned depth;     /* of the tree below: evaluation is a recursion */
    struct expr *next;  /* in a list of items or arguments */
    struct expr *items; /* operands are items too */
    struct value constant;
    struct node *string;
    struct reference *reference;
};

enum node_kind { NODE_TEXT, NODE_REFERENCE, NODE_SET, NODE_IF, NODE_FOREACH, NODE_BREAK };

struct branch {
    struct expr *condition; /* NULL: #else */
    struct node *body;
    struct branch *next;
};

struct node {
    enum node_kind kind;
    unsigned line;
    struct node *next;
    struct slice text;
    struct reference *reference;
    size_t slot;       /* the variable of #set and #foreach */
    struct expr *expr; /* what #set assigns, what #foreach walks */
    struct node *body;
    struct branch *branches;
};

enum { TEMPLATE_VARIABLES = 1000 };

struct template
{
    struct arena arena;
    struct node *nodes;
    size_t name_count;
    struct slice names[TEMPLATE_VARIABLES];
    struct owned_path *paths;
};

/* Of the template from now on. */
void template_own_path(struct template *template, struct json_path *path);
/* "$" and a path behind it. */
enum status template_compile_path(struct slice text, struct json_path **out,
                                  struct error *err) MUST_USE;

/* ---- reading ---- */

struct parser {
    struct template *template;
    const char *start;
    const char *at;
    const char *end;
    const char *line_at; /* up to here the lines are counted */
    unsigned line;
    unsigned depth;        /* of parentheses and directives around */
    unsigned string_depth; /* of strings with references in strings */
    struct error *err;
};

enum { TEMPLATE_DEPTH = 50, TEMPLATE_STRING_DEPTH = 5, TEMPLATE_EXPR_DEPTH = 100 };

enum status parser_fail(struct parser *p, const char *fmt, ...) PRINTF(2, 3);
unsigned parser_line(struct parser *p);
/* The character `ahead` of where it is, NUL at the end (and for a NUL). */
char parser_peek(const struct parser *p, size_t ahead);
void parser_skip_blanks(struct parser *p); /* line breaks too */
/* True, and skipped, when it stands there. */
bool parser_skip(struct parser *p, const char *text);
struct slice parser_identifier(struct parser *p); /* len 0: none */
/* Behind an opening bracket: counts the depth. */
enum status parser_enter(struct parser *p) MUST_USE;
void parser_leave(struct parser *p);
/* The slot of a variable, made at the first mention. */
enum status parser_slot(struct parser *p, struct slice name, size_t *slot) MUST_USE;

/* template_parse.c: a whole text. */
enum status parse_template(struct parser *p, struct node **out) MUST_USE;
/* template_expression.c */
enum status parse_expression(struct parser *p, struct expr **out) MUST_USE;
/* At a dollar.  OK and NULL when it is a mere character; then nothing is skipped. */
enum status parse_reference(struct parser *p, struct reference **out) MUST_USE;
/* True for the names that #set and #foreach must not have. */
bool is_reserved_name(struct slice name);

/* ---- evaluating ---- */

struct loop_state {
    size_t index;
    size_t count;
    struct loop_state *outer;
};

struct eval {
    const struct template *template;
    struct event_values *values;
    struct arena arena;
    struct value *slots;
    struct loop_state *loop;
    const struct step *step; /* whose method is called */
    struct json *context;    /* parsed at the first use */
    struct owned_tree *trees;
    size_t steps;
    unsigned line;
    bool is_breaking;
    struct error *err;
};

/* What a step is worth where data is looked at. */
enum { MEMBERS_PER_STEP = 16, BYTES_PER_STEP = 1024 };

/* LIMIT when too many steps are taken, or when the arena is full. */
enum status eval_spend(struct eval *eval, size_t steps) MUST_USE;
enum status eval_alloc(struct eval *eval, size_t size, void **out) MUST_USE;
enum status eval_fail(struct eval *eval, enum status status, const char *fmt, ...) PRINTF(3, 4);
/* What is not in the arena, but counts. */
enum status eval_charge(struct eval *eval, size_t size) MUST_USE;
/* What can be added to a buffer whose text becomes a value. */
size_t eval_room(const struct eval *eval);
/* The text of the buffer as a value; the buffer is done afterwards. */
enum status eval_take(struct eval *eval, struct buf *text, struct value *out) MUST_USE;
/* The tree is freed with the evaluation. */
enum status eval_own_tree(struct eval *eval, struct json *tree) MUST_USE;

struct value value_of_text(const char *text, size_t len);
struct value value_of_integer(int64_t integer);
struct value value_of_bool(bool is_true);
struct value value_of_json(const struct json *json);
bool value_is_true(const struct value *value);
bool value_is_nothing(const struct value *value); /* undefined or missing */
/* As Java prints it; nothing for what is nothing. */
enum status value_print(struct eval *eval, const struct value *value, struct buf *out) MUST_USE;
enum status value_text(struct eval *eval, const struct value *value, struct slice *out) MUST_USE;
enum status value_is_equal(struct eval *eval, const struct value *a, const struct value *b,
                           bool *out) MUST_USE;
enum status value_property(struct eval *eval, const struct value *target, struct slice name,
                           struct value *out) MUST_USE;
enum status value_index(struct eval *eval, const struct value *target, const struct value *index,
                        struct value *out) MUST_USE;
enum status list_create(struct eval *eval, struct value *out) MUST_USE;
enum status list_add(struct eval *eval, struct list *list, const struct value *value) MUST_USE;
enum status map_create(struct eval *eval, struct value *out) MUST_USE;
enum status map_put(struct eval *eval, struct map *map, struct slice key,
                    const struct value *value) MUST_USE;

bool slice_is_same(struct slice a, struct slice b);
bool value_is_map(const struct value *value); /* of both kinds */
bool value_is_list(const struct value *value);
/* How many items a list or map has. */
enum status value_count(struct eval *eval, const struct value *value, int64_t *count) MUST_USE;
/* True or false of what can be empty. */
enum status value_emptiness(struct eval *eval, const struct value *target,
                            struct value *out) MUST_USE;
/* Of a map. */
enum status value_member(struct eval *eval, const struct value *target, struct slice name,
                         struct value *out) MUST_USE;

/* Walks lists and maps of all kinds; of other values there are none. */
struct iterator {
    const struct value *container;
    const struct json *at;
    size_t index;
    size_t count;
};
enum status iterator_begin(struct eval *eval, struct iterator *it,
                           const struct value *container) MUST_USE;
/* False at the end.  The key of a list's item has no data. */
bool iterator_next(struct iterator *it, struct slice *key, struct value *value);

/* NULL when there is none of that name with so many arguments. */
const struct method *find_method(const struct method *table, size_t count, struct slice name,
                                 size_t arg_count);
const struct method *find_value_method(struct slice name, size_t arg_count);
const struct method *find_util_method(struct slice name, size_t arg_count);
const struct method *find_input_method(struct slice name, size_t arg_count);
bool is_path_method(const struct method *method); /* $input.json and $input.path */

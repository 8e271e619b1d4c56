/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_parse.c - text, comments and directives.
 *
 * A line break behind a directive belongs to it, as in Velocity 1.x: a line that has nothing but a
 * directive on it leaves no empty line.
 */
#include "template_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- small things ---- */

unsigned parser_line(struct parser *p)
{
    for (; p->line_at < p->at; p->line_at++)
        p->line += *p->line_at == '\n';
    return p->line;
}

enum status parser_fail(struct parser *p, const char *fmt, ...)
{
    char text[300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail(p->err, INVALID, "line %u: %s", parser_line(p), text);
}

char parser_peek(const struct parser *p, size_t ahead)
{
    return ahead < (size_t)(p->end - p->at) ? p->at[ahead] : '\0';
}

void parser_skip_blanks(struct parser *p)
{
    while (p->at < p->end && *p->at && strchr(" \t\r\n", *p->at))
        p->at++;
}

bool parser_skip(struct parser *p, const char *text)
{
    size_t len = strlen(text);

    if ((size_t)(p->end - p->at) < len || memcmp(p->at, text, len) != 0)
        return false;
    p->at += len;
    return true;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

struct slice parser_identifier(struct parser *p)
{
    struct slice name = {p->at, 0};

    if (!is_letter(parser_peek(p, 0)))
        return name;
    while (is_letter(parser_peek(p, 0)) || parser_peek(p, 0) == '-' ||
           (parser_peek(p, 0) >= '0' && parser_peek(p, 0) <= '9'))
        p->at++;
    name.len = (size_t)(p->at - name.data);
    return name;
}

enum status parser_enter(struct parser *p)
{
    if (++p->depth > TEMPLATE_DEPTH)
        return parser_fail(p, "nested more than %d deep", TEMPLATE_DEPTH);
    return OK;
}

void parser_leave(struct parser *p)
{
    p->depth--;
}

enum status parser_slot(struct parser *p, struct slice name, size_t *slot)
{
    struct template *template = p->template;

    for (size_t i = 0; i < template->name_count; i++) {
        struct slice known = template->names[i];

        if (known.len == name.len && memcmp(known.data, name.data, name.len) == 0) {
            *slot = i;
            return OK;
        }
    }
    if (template->name_count == TEMPLATE_VARIABLES)
        return parser_fail(p, "more than %d variables", TEMPLATE_VARIABLES);
    *slot = template->name_count;
    template->names[template->name_count++] = name;
    return OK;
}

/* ---- blocks ---- */

enum word {
    WORD_SET,
    WORD_IF,
    WORD_ELSEIF,
    WORD_ELSE,
    WORD_END,
    WORD_FOREACH,
    WORD_BREAK,
    WORD_REFUSED,
    WORD_NONE /* text */
};

static const struct {
    const char *text;
    enum word word;
} words[] = {{"set", WORD_SET},         {"if", WORD_IF},           {"elseif", WORD_ELSEIF},
             {"else", WORD_ELSE},       {"end", WORD_END},         {"foreach", WORD_FOREACH},
             {"break", WORD_BREAK},     {"stop", WORD_REFUSED},    {"macro", WORD_REFUSED},
             {"define", WORD_REFUSED},  {"include", WORD_REFUSED}, {"parse", WORD_REFUSED},
             {"evaluate", WORD_REFUSED}};

/* A block while it is read. */
struct block {
    struct node **tail;
    struct buf text; /* not yet a node */
    unsigned loops;  /* around it */
    enum word end;   /* which directive ended it; WORD_NONE: the end of the template */
};

static struct node *add_node(struct parser *p, struct block *block, enum node_kind kind)
{
    struct node *node = arena_alloc(&p->template->arena, sizeof(*node));

    node->kind = kind;
    node->line = parser_line(p);
    *block->tail = node;
    block->tail = &node->next;
    return node;
}

static void flush_text(struct parser *p, struct block *block)
{
    struct node *node;
    char *copy;

    if (block->text.len == 0)
        return;
    copy = arena_alloc(&p->template->arena, block->text.len);
    memcpy(copy, block->text.data, block->text.len);
    node = add_node(p, block, NODE_TEXT);
    node->text = (struct slice){copy, block->text.len};
    buf_clear(&block->text);
}

static bool is_indent(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_line_end(struct parser *p)
{
    const char *at = p->at;

    while (at < p->end && is_indent(*at))
        at++;
    if (at < p->end && *at == '\r')
        at++;
    if (at < p->end && *at == '\n')
        p->at = at + 1;
}

/* Takes back the blanks between the beginning of the line and a #set. */
static void drop_indent(struct parser *p, struct block *block, const char *hash)
{
    while (hash > p->start && is_indent(hash[-1]))
        hash--;
    if (hash > p->start && hash[-1] != '\n')
        return;
    while (block->text.len && is_indent(block->text.data[block->text.len - 1]))
        block->text.len--;
}

static enum status parse_block(struct parser *p, struct node **out, unsigned loops, enum word *end);

static enum status expect(struct parser *p, const char *text, const char *where)
{
    parser_skip_blanks(p);
    if (!parser_skip(p, text))
        return parser_fail(p, "%s is expected %s", text, where);
    return OK;
}

/* "( $name" of #set and #foreach; *slot: the variable's. */
static enum status parse_target(struct parser *p, const char *where, size_t *slot)
{
    enum status st = expect(p, "(", where);
    struct slice name;
    bool is_braced;

    if (!st)
        st = expect(p, "$", where);
    if (st)
        return st;
    is_braced = parser_skip(p, "{");
    name = parser_identifier(p);
    if (name.len == 0)
        return parser_fail(p, "the name of a variable is expected %s", where);
    if (is_reserved_name(name))
        return parser_fail(p, "$%.*s cannot be assigned to", (int)name.len, name.data);
    if (is_braced && !parser_skip(p, "}"))
        return parser_fail(p, "} is expected %s", where);
    if (parser_peek(p, 0) == '.' || parser_peek(p, 0) == '[')
        return parser_fail(p, "assigning to a part of $%.*s is not supported (use .put())",
                           (int)name.len, name.data);
    return parser_slot(p, name, slot);
}

/* The closing parenthesis of a directive. */
static enum status parse_close(struct parser *p, const char *where)
{
    enum status st = expect(p, ")", where);

    if (!st)
        skip_line_end(p);
    return st;
}

static enum status parse_set(struct parser *p, struct block *block)
{
    struct node *node;
    enum status st;

    flush_text(p, block);
    node = add_node(p, block, NODE_SET);
    st = parse_target(p, "in #set", &node->slot);
    if (!st)
        st = expect(p, "=", "in #set");
    if (!st)
        st = parse_expression(p, &node->expr);
    return st ? st : parse_close(p, "at the end of #set");
}

static enum status parse_foreach(struct parser *p, struct block *block)
{
    enum word end = WORD_NONE;
    struct node *node;
    enum status st;

    flush_text(p, block);
    node = add_node(p, block, NODE_FOREACH);
    st = parse_target(p, "in #foreach", &node->slot);
    if (!st)
        st = expect(p, "in", "in #foreach");
    if (!st)
        st = parse_expression(p, &node->expr);
    if (!st)
        st = parse_close(p, "at the end of #foreach");
    if (!st)
        st = parse_block(p, &node->body, block->loops + 1, &end);
    if (!st && end != WORD_END)
        return parser_fail(p, "#foreach of line %u has no #end", node->line);
    return st;
}

static enum status parse_condition(struct parser *p, struct branch *branch)
{
    enum status st = expect(p, "(", "behind #if and #elseif");

    if (!st)
        st = parse_expression(p, &branch->condition);
    return st ? st : parse_close(p, "at the end of a condition");
}

static enum status parse_if(struct parser *p, struct block *block)
{
    struct branch **tail;
    enum word word = WORD_IF;
    struct node *node;

    flush_text(p, block);
    node = add_node(p, block, NODE_IF);
    tail = &node->branches;
    while (word != WORD_END) {
        struct branch *branch = arena_alloc(&p->template->arena, sizeof(*branch));
        bool is_else = word == WORD_ELSE;
        enum status st = OK;

        *tail = branch;
        tail = &branch->next;
        if (is_else)
            skip_line_end(p);
        else
            st = parse_condition(p, branch);
        if (!st)
            st = parse_block(p, &branch->body, block->loops, &word);
        if (st)
            return st;
        if (word == WORD_NONE)
            return parser_fail(p, "#if of line %u has no #end", node->line);
        if (is_else && word != WORD_END)
            return parser_fail(p, "nothing but #end comes behind #else");
    }
    return OK;
}

/* ---- what begins with # ---- */

static struct slice letters(struct parser *p)
{
    struct slice name = {p->at, 0};

    while (is_letter(parser_peek(p, 0)) && parser_peek(p, 0) != '_')
        p->at++;
    name.len = (size_t)(p->at - name.data);
    return name;
}

/* Behind the #: a known word, with braces or without, which is then skipped. */
static enum word parse_word(struct parser *p, struct slice *name)
{
    const char *start = p->at;
    bool is_braced = parser_skip(p, "{");

    *name = letters(p);
    if (!is_braced || parser_skip(p, "}")) {
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            if (slice_is(*name, words[i].text))
                return words[i].word;
        }
    }
    p->at = start;
    return WORD_NONE;
}

/* Both comments and what is to be left as it stands; false when it is none of them. */
static enum status parse_comment(struct parser *p, struct block *block, bool *is_comment)
{
    const char *end;

    *is_comment = true;
    if (parser_skip(p, "##")) {
        end = memchr(p->at, '\n', (size_t)(p->end - p->at));
        p->at = end ? end + 1 : p->end;
        return OK;
    }
    if (parser_skip(p, "#*")) {
        end = memmem(p->at, (size_t)(p->end - p->at), "*#", 2);
        if (!end)
            return parser_fail(p, "a comment has no *#");
        p->at = end + 2;
        return OK;
    }
    if (parser_skip(p, "#[[")) {
        end = memmem(p->at, (size_t)(p->end - p->at), "]]#", 3);
        if (!end)
            return parser_fail(p, "#[[ has no ]]#");
        buf_add(&block->text, p->at, (size_t)(end - p->at));
        p->at = end + 3;
        return OK;
    }
    *is_comment = false;
    return OK;
}

/* *is_end: the directive ends this block; block->end says which it was. */
static enum status parse_directive(struct parser *p, struct block *block, enum word word,
                                   bool *is_end)
{
    enum status st = OK;

    switch (word) {
    case WORD_SET:
        return parse_set(p, block);
    case WORD_IF:
    case WORD_FOREACH:
        st = parser_enter(p);
        if (!st)
            st = word == WORD_IF ? parse_if(p, block) : parse_foreach(p, block);
        parser_leave(p);
        return st;
    case WORD_BREAK:
        if (block->loops == 0)
            return parser_fail(p, "#break is not inside a #foreach");
        flush_text(p, block);
        add_node(p, block, NODE_BREAK);
        return OK;
    case WORD_END:
        skip_line_end(p);
        break;
    case WORD_ELSEIF:
    case WORD_ELSE:
    case WORD_REFUSED:
    case WORD_NONE:
        break;
    }
    block->end = word;
    *is_end = true;
    return OK;
}

/* At a #. */
static enum status parse_hash(struct parser *p, struct block *block, bool *is_end)
{
    bool is_comment;
    enum status st = parse_comment(p, block, &is_comment);
    const char *hash;
    struct slice name;
    enum word word;

    if (st || is_comment)
        return st;
    hash = p->at++;
    word = parse_word(p, &name);
    if (word == WORD_REFUSED)
        return parser_fail(p, "#%.*s is not supported", (int)name.len, name.data);
    if (word == WORD_SET)
        drop_indent(p, block, hash);
    if (word != WORD_NONE)
        return parse_directive(p, block, word, is_end);
    buf_addc(&block->text, '#'); /* of a colour, a channel: text */
    return OK;
}

/* ---- text ---- */

static enum status parse_dollar(struct parser *p, struct block *block, size_t backslashes)
{
    struct reference *reference = NULL;
    enum status st = parse_reference(p, &reference);
    struct node *node;

    if (st)
        return st;
    if (!reference) {
        for (; backslashes > 0; backslashes--)
            buf_addc(&block->text, '\\');
        buf_addc(&block->text, *p->at++);
        return OK;
    }
    flush_text(p, block);
    reference->backslashes = backslashes;
    node = add_node(p, block, NODE_REFERENCE);
    node->reference = reference;
    return OK;
}

/* At a backslash.  Half of those in front of a directive are printed, and the last of an odd number
 * makes the directive text; in front of a reference it depends on its value. */
static enum status parse_backslashes(struct parser *p, struct block *block)
{
    size_t count = 0;
    size_t printed;
    struct slice name;

    while (parser_peek(p, count) == '\\')
        count++;
    p->at += count;
    if (parser_peek(p, 0) == '$')
        return parse_dollar(p, block, count);
    printed = count;
    if (parser_peek(p, 0) == '#') {
        const char *hash = p->at++;

        if (parse_word(p, &name) != WORD_NONE)
            printed = count / 2;
        p->at = hash;
    }
    for (size_t i = 0; i < printed; i++)
        buf_addc(&block->text, '\\');
    if (printed != count && count % 2 == 1)
        buf_addc(&block->text, *p->at++);
    return OK;
}

static enum status parse_piece(struct parser *p, struct block *block, bool *is_end)
{
    if (*p->at == '#')
        return parse_hash(p, block, is_end);
    if (*p->at == '$')
        return parse_dollar(p, block, 0);
    if (*p->at == '\\')
        return parse_backslashes(p, block);
    buf_addc(&block->text, *p->at++);
    return OK;
}

/* Up to the directive that ends the block, or the end of the text. */
static enum status parse_block(struct parser *p, struct node **out, unsigned loops, enum word *end)
{
    struct block block = {.tail = out, .loops = loops, .end = WORD_NONE};
    bool is_end = false;
    enum status st = OK;

    buf_init(&block.text, SIZE_MAX);
    while (!st && !is_end && p->at < p->end)
        st = parse_piece(p, &block, &is_end);
    if (!st)
        flush_text(p, &block);
    buf_done(&block.text);
    *end = block.end;
    return st;
}

enum status parse_template(struct parser *p, struct node **out)
{
    enum word end;
    enum status st = parse_block(p, out, 0, &end);

    if (st)
        return st;
    if (end == WORD_END)
        return parser_fail(p, "#end has nothing to end");
    if (end != WORD_NONE)
        return parser_fail(p, "#%s is not inside an #if", end == WORD_ELSE ? "else" : "elseif");
    return OK;
}

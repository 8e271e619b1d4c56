/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expression.c - what selection expressions are made of.
 */
#include "expression.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    const char *text;
    const char *at;
    const char *what;
    bool has_answer;
    struct expression *expression;
    struct error *err;
};

static enum status fail_at(const struct parser *p, const char *problem)
{
    return fail(p->err, INVALID, "%s \"%.100s\": %s at byte %zu", p->what, p->text, problem,
                (size_t)(p->at - p->text));
}

/* True, and skipped, when the name stands there and does not go on. */
static bool skip_name(struct parser *p, const char *name)
{
    size_t len = strlen(name);

    if (strncmp(p->at, name, len) != 0 || json_path_name_len(p->at + len, 1) > 0)
        return false;
    p->at += len;
    return true;
}

static enum status parse_path(struct parser *p, struct expression_part *part)
{
    struct error problem = {.text = ""};
    size_t len = strlen(p->at);
    enum status st = json_path_compile(p->at, &len, &part->path, &problem);

    p->at += len;
    return st ? fail_at(p, problem.text) : OK;
}

/* Behind "header" or "multivalueheader". */
static enum status parse_header(struct parser *p, struct expression_part *part)
{
    size_t len;

    p->at += *p->at == '.';
    len = json_path_name_len(p->at, strlen(p->at));
    if (len == 0 || p->at[-1] != '.')
        return fail_at(p, "a header's name is expected");
    part->kind = EXPRESSION_HEADER;
    part->text = mem_strndup(p->at, len);
    p->at += len;
    return OK;
}

static enum status parse_name(struct parser *p, struct expression_part *part)
{
    part->kind = EXPRESSION_BODY;
    if (skip_name(p, "request.body"))
        return parse_path(p, part);
    if (!p->has_answer)
        return fail_at(p, "request.body is the only variable of routes and is expected");
    if (skip_name(p, "integration.response.statuscode")) {
        part->kind = EXPRESSION_STATUS;
        return OK;
    }
    if (skip_name(p, "integration.response.header") ||
        skip_name(p, "integration.response.multivalueheader"))
        return parse_header(p, part);
    part->kind = EXPRESSION_NOTHING;
    if (skip_name(p, "integration.response.body"))
        return parse_path(p, part);
    return fail_at(p, "request.body, integration.response.statuscode or "
                      "integration.response.header is expected");
}

/* Behind the dollar. */
static enum status parse_variable(struct parser *p, struct expression_part *part)
{
    bool is_braced = *p->at == '{';
    enum status st;

    p->at += is_braced;
    st = parse_name(p, part);
    if (st)
        return st;
    if (is_braced && *p->at != '}')
        return fail_at(p, "} is expected");
    p->at += is_braced;
    return OK;
}

static void parse_literal(struct parser *p, struct expression_part *part)
{
    struct buf text;

    buf_init(&text, strlen(p->at));
    while (*p->at && *p->at != '$') {
        if (p->at[0] == '\\' && p->at[1] == '$')
            p->at++;
        buf_addc(&text, *p->at++);
    }
    part->text = buf_take(&text);
}

static enum status parse_parts(struct parser *p)
{
    struct expression *expression = p->expression;

    if (!*p->at)
        return fail_at(p, "it is empty");
    while (*p->at) {
        struct expression_part *part = &expression->parts[expression->part_count];
        enum status st = OK;

        if (expression->part_count == EXPRESSION_PARTS)
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

enum status expression_compile(const char *text, const char *what, bool has_answer,
                               struct expression *out, struct error *err)
{
    struct parser p = {text, text, what, has_answer, out, err};
    enum status st;

    *out = (struct expression){0};
    st = parse_parts(&p);
    if (st)
        expression_done(out);
    return st;
}

void expression_done(struct expression *expression)
{
    for (size_t i = 0; i < expression->part_count; i++) {
        free(expression->parts[i].text);
        json_path_free(expression->parts[i].path);
    }
    *expression = (struct expression){0};
}

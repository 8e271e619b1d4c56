/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_path.c - paths into JSON.
 */
#include "json_path.h"

#include <stdlib.h>
#include <string.h>

enum step_kind { STEP_NAME, STEP_INDEX, STEP_ALL };

struct step {
    enum step_kind kind;
    size_t index;
    char *name;
};

struct json_path {
    size_t step_count;
    struct step steps[JSON_PATH_STEPS];
    bool is_list; /* a step is "all": any number of values */
};

/* ---- compiling ---- */

struct parser {
    const char *at;
    const char *end;
    struct error *err;
};

static char peek(const struct parser *p)
{
    return p->at < p->end ? *p->at : '\0';
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (unsigned char)c >= 0x80;
}

size_t json_path_name_len(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && is_name_char(text[n]))
        n++;
    return n;
}

/* Behind a dot. */
static enum status parse_name(struct parser *p, struct step *step)
{
    size_t len = json_path_name_len(p->at, (size_t)(p->end - p->at));

    if (peek(p) == '*') {
        step->kind = STEP_ALL;
        p->at++;
        return OK;
    }
    if (len == 0)
        return fail(p->err, INVALID, "a member's name is expected");
    step->kind = STEP_NAME;
    step->name = mem_strndup(p->at, len);
    p->at += len;
    return OK;
}

static enum status parse_quoted(struct parser *p, struct step *step)
{
    const char *start = p->at + 1;
    const char *end = memchr(start, *p->at, (size_t)(p->end - start));

    if (!end)
        return fail(p->err, INVALID, "a closing quote is missing");
    if (memchr(start, '\0', (size_t)(end - start)))
        return fail(p->err, INVALID, "a name has no NUL in it");
    step->kind = STEP_NAME;
    step->name = mem_strndup(start, (size_t)(end - start));
    p->at = end + 1;
    return OK;
}

/* False when there is no number of up to nine digits; longer ones are past every array. */
static bool parse_index(struct parser *p, struct step *step)
{
    size_t digits = 0;

    while (p->at + digits < p->end && p->at[digits] >= '0' && p->at[digits] <= '9')
        digits++;
    if (digits == 0 || digits > 9)
        return false;
    step->kind = STEP_INDEX;
    for (; digits > 0; digits--)
        step->index = step->index * 10 + (size_t)(*p->at++ - '0');
    return true;
}

/* Behind an opening bracket. */
static enum status parse_subscript(struct parser *p, struct step *step)
{
    enum status st = OK;

    if (peek(p) == '\'' || peek(p) == '"') {
        st = parse_quoted(p, step);
    } else if (peek(p) == '*') {
        step->kind = STEP_ALL;
        p->at++;
    } else if (!parse_index(p, step)) {
        st = fail(p->err, INVALID, "an index, a quoted name or * is expected");
    }
    if (st)
        return st;
    if (peek(p) != ']')
        return fail(p->err, INVALID, "] is expected");
    p->at++;
    return OK;
}

static enum status parse_steps(struct parser *p, struct json_path *path)
{
    while (peek(p) == '.' || peek(p) == '[') {
        enum status st;
        struct step *step;

        if (path->step_count == JSON_PATH_STEPS)
            return fail(p->err, INVALID, "the path is too long");
        step = &path->steps[path->step_count++];
        st = *p->at++ == '.' ? parse_name(p, step) : parse_subscript(p, step);
        if (st)
            return st;
        path->is_list |= step->kind == STEP_ALL;
    }
    return OK;
}

enum status json_path_compile(const char *text, size_t *len, struct json_path **out,
                              struct error *err)
{
    struct json_path *path = mem_alloc(sizeof(*path));
    struct parser p = {text, text + *len, err};
    enum status st = parse_steps(&p, path);

    *len = (size_t)(p.at - text);
    if (st) {
        json_path_free(path);
        return st;
    }
    *out = path;
    return OK;
}

void json_path_free(struct json_path *path)
{
    if (!path)
        return;
    for (size_t i = 0; i < path->step_count; i++)
        free(path->steps[i].name);
    free(path);
}

/* ---- finding ---- */

bool json_path_is_single(const struct json_path *path)
{
    return !path->is_list;
}

size_t json_path_names(const struct json_path *path, const char *names[JSON_PATH_STEPS])
{
    for (size_t i = 0; i < path->step_count; i++) {
        if (path->steps[i].kind != STEP_NAME)
            return 0;
        names[i] = path->steps[i].name;
    }
    return path->step_count;
}

struct visit {
    json_path_fn *fn;
    void *ctx;
    size_t found;
};

static void visit_all(struct visit *visit, const struct json *value, const struct step *steps,
                      size_t count)
{
    if (!value)
        return;
    if (count == 0) {
        visit->fn(visit->ctx, value);
        visit->found++;
        return;
    }
    switch (steps->kind) {
    case STEP_NAME:
        visit_all(visit, json_get(value, steps->name), steps + 1, count - 1);
        return;
    case STEP_INDEX:
        visit_all(visit, json_at(value, steps->index), steps + 1, count - 1);
        return;
    case STEP_ALL:
        break;
    }
    if (json_type(value) != JSON_OBJECT && json_type(value) != JSON_ARRAY)
        return;
    for (const struct json *it = json_first(value); it; it = json_next(it))
        visit_all(visit, it, steps + 1, count - 1);
}

size_t json_path_each(const struct json_path *path, const struct json *root, json_path_fn *fn,
                      void *ctx)
{
    struct visit visit = {fn, ctx, 0};

    visit_all(&visit, root, path->steps, path->step_count);
    return visit.found;
}

static void remember(void *ctx, const struct json *value)
{
    const struct json **found = ctx;

    *found = value;
}

const struct json *json_path_find(const struct json_path *path, const struct json *root)
{
    const struct json *found = NULL;

    json_path_each(path, root, remember, (void *)&found);
    return found;
}

/* ---- as text ---- */

struct writer {
    struct buf *out;
    size_t count;
};

static void add_separator(struct writer *writer)
{
    if (writer->count++)
        buf_adds(writer->out, ", ");
}

/* A list as Java prints it, which is what API Gateway does: [x, y]. */
static void add_text(struct buf *out, const struct json *value)
{
    struct writer list = {out, 0};

    if (json_type(value) == JSON_STRING) {
        buf_adds(out, json_text(value));
        return;
    }
    if (json_type(value) != JSON_ARRAY) {
        json_add(out, value);
        return;
    }
    buf_addc(out, '[');
    for (const struct json *it = json_first(value); it; it = json_next(it)) {
        add_separator(&list);
        add_text(out, it);
    }
    buf_addc(out, ']');
}

static void on_text(void *ctx, const struct json *value)
{
    struct writer *writer = ctx;

    add_separator(writer);
    add_text(writer->out, value);
}

bool json_path_text(const struct json_path *path, const struct json *root, struct buf *out)
{
    struct writer writer = {out, 0};
    size_t start = out->len;

    if (path->is_list)
        buf_addc(out, '[');
    if (json_path_each(path, root, on_text, &writer) == 0) {
        out->len = start;
        return false;
    }
    if (path->is_list)
        buf_addc(out, ']');
    return true;
}

static void on_json(void *ctx, const struct json *value)
{
    struct writer *writer = ctx;

    if (writer->count++)
        buf_addc(writer->out, ',');
    json_add(writer->out, value);
}

void json_path_json(const struct json_path *path, const struct json *root, struct buf *out)
{
    struct writer writer = {out, 0};
    size_t start = out->len;

    if (path->is_list)
        buf_addc(out, '[');
    if (json_path_each(path, root, on_json, &writer) == 0) {
        out->len = start;
        buf_adds(out, "\"\"");
    } else if (path->is_list) {
        buf_addc(out, ']');
    }
}

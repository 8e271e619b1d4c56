/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.c - mapping templates: memory, compiling.
 */
#include "template_internal.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 4096, MAX_TEMPLATE_BYTES = 300 * 1024 };

/* ---- memory ---- */

struct chunk {
    struct chunk *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) char data[];
};

static struct chunk *add_chunk(struct arena *arena, size_t size)
{
    struct chunk *chunk;

    size = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    chunk = mem_alloc(sizeof(*chunk) + size);
    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    struct chunk *chunk = arena->chunks;
    void *at;

    if (size > arena->limit || arena->used > arena->limit - size)
        return NULL;
    arena->used += size;
    size = (size + align - 1) / align * align;
    if (!chunk || chunk->size - chunk->used < size)
        chunk = add_chunk(arena, size);
    at = chunk->data + chunk->used;
    chunk->used += size;
    return at;
}

void arena_done(struct arena *arena)
{
    while (arena->chunks) {
        struct chunk *chunk = arena->chunks;

        arena->chunks = chunk->next;
        free(chunk);
    }
}

/* ---- paths ---- */

struct owned_path {
    struct json_path *path;
    struct owned_path *next;
};

void template_own_path(struct template *template, struct json_path *path)
{
    struct owned_path *owned = arena_alloc(&template->arena, sizeof(*owned));

    *owned = (struct owned_path){path, template->paths};
    template->paths = owned;
}

enum status template_compile_path(struct slice text, struct json_path **out, struct error *err)
{
    size_t len = text.len ? text.len - 1 : 0;
    size_t used = len;
    struct error problem = {.text = ""};

    if (text.len == 0 || text.data[0] != '$')
        return fail(err, INVALID, "a path that begins with $ is expected");
    if (json_path_compile(text.data + 1, &used, out, &problem))
        return fail(err, INVALID, "path \"%.*s\": %s at byte %zu", (int)(len < 100 ? len + 1 : 100),
                    text.data, problem.text, used + 1);
    if (used == len)
        return OK;
    json_path_free(*out);
    *out = NULL;
    return fail(err, INVALID, "path \"%.*s\": .name or [index] is expected at byte %zu",
                (int)(len < 100 ? len + 1 : 100), text.data, used + 1);
}

/* ---- compiling ---- */

enum status template_compile(const char *text, size_t len, struct template **out, struct error *err)
{
    struct template *template;
    struct parser p = {.line = 1, .err = err};
    enum status st;
    char *copy;

    if (len > MAX_TEMPLATE_BYTES)
        return fail(err, INVALID, "a template has at most %d KB", MAX_TEMPLATE_BYTES / 1024);
    template = mem_alloc(sizeof(*template));
    template->arena.limit = SIZE_MAX;
    copy = arena_alloc(&template->arena, len);
    if (len)
        memcpy(copy, text, len);
    p.template = template;
    p.start = copy;
    p.at = copy;
    p.end = copy + len;
    p.line_at = copy;
    st = parse_template(&p, &template->nodes);
    if (st) {
        template_free(template);
        return st;
    }
    *out = template;
    return OK;
}

void template_free(struct template *template)
{
    if (!template)
        return;
    for (struct owned_path *it = template->paths; it; it = it->next)
        json_path_free(it->path);
    arena_done(&template->arena);
    free(template);
}

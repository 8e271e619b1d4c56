/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selection.c - selection expressions of integrations.
 */
#include "selection.h"

#include "expression.h"

#include <stdlib.h>

struct selection {
    struct expression expression;
    bool has_body; /* a variable is in the body, which then has to be parsed */
};

enum status selection_compile(const char *text, struct selection **out, struct error *err)
{
    struct selection *selection = mem_alloc(sizeof(*selection));
    enum status st =
        expression_compile(text, "selection expression", true, &selection->expression, err);

    if (st) {
        free(selection);
        return st;
    }
    for (size_t i = 0; i < selection->expression.part_count; i++)
        selection->has_body |= selection->expression.parts[i].kind == EXPRESSION_BODY;
    *out = selection;
    return OK;
}

void selection_free(struct selection *selection)
{
    if (!selection)
        return;
    expression_done(&selection->expression);
    free(selection);
}

static void add_part(const struct expression_part *part, const struct json *tree,
                     const struct selection_answer *answer, struct buf *key)
{
    const char *value = NULL;

    switch (part->kind) {
    case EXPRESSION_LITERAL:
        buf_adds(key, part->text);
        break;
    case EXPRESSION_BODY:
        json_path_text(part->path, tree, key);
        break;
    case EXPRESSION_STATUS:
        if (answer)
            buf_addf(key, "%d", answer->status);
        break;
    case EXPRESSION_HEADER:
        if (answer && answer->header)
            value = answer->header(answer->ctx, part->text);
        if (value)
            buf_adds(key, value);
        break;
    case EXPRESSION_NOTHING:
        break;
    }
}

void selection_eval(const struct selection *selection, const char *body, size_t body_len,
                    const struct selection_answer *answer, struct buf *key)
{
    struct json *tree = NULL;

    if (selection->has_body && body && json_parse(body, body_len, &tree, NULL))
        tree = NULL;
    for (size_t i = 0; i < selection->expression.part_count; i++)
        add_part(&selection->expression.parts[i], tree, answer, key);
    json_free(tree);
}

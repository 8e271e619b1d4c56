/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selection.h - selection expressions of integrations: which template, which response.
 *
 * The grammar is that of route.h; the variables are request.body[.path] and, of an answer,
 * integration.response.statuscode, .header.<name> and .multivalueheader.<name>.  An expression
 * without a variable is its own value; `\$default` is "$default".
 */
#pragma once

#include "buf.h"

struct selection;

/* What an answer of an integration offers; NULL in front of the call. */
struct selection_answer {
    int status;
    /* The last value of a header (any case), or NULL. */
    const char *(*header)(const void *ctx, const char *name);
    const void *ctx;
};

enum status selection_compile(const char *text, struct selection **out, struct error *err) MUST_USE;
void selection_free(struct selection *selection); /* NULL is allowed */
/* Adds the key.  body: the message, NULL: none.  What has no value is "". */
void selection_eval(const struct selection *selection, const char *body, size_t body_len,
                    const struct selection_answer *answer, struct buf *key);

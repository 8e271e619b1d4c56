/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expression.h - what selection expressions are made of, for route.c and selection.c.
 *
 * Grammar (API Gateway developer guide, "selection expressions"): `$var` or `${var}`, any number of
 * them mixed with literal text; `\$` is a literal dollar; evaluated once, never recursively.
 */
#pragma once

#include "json_path.h"

enum expression_kind {
    EXPRESSION_LITERAL,
    EXPRESSION_BODY,   /* request.body[.path] */
    EXPRESSION_STATUS, /* integration.response.statuscode */
    EXPRESSION_HEADER, /* integration.response.header.N and .multivalueheader.N */
    EXPRESSION_NOTHING /* integration.response.body.path: taken, and empty on API Gateway too */
};

enum { EXPRESSION_PARTS = 16 };

struct expression_part {
    enum expression_kind kind;
    char *text; /* the literal, or the header's name */
    struct json_path *path;
};

struct expression {
    size_t part_count;
    struct expression_part parts[EXPRESSION_PARTS];
};

/* what: how messages call it ("route selection expression").  has_answer: the variables of an
 * answer are allowed.  INVALID names what is wrong and where; *out needs expression_done after OK
 * only. */
enum status expression_compile(const char *text, const char *what, bool has_answer,
                               struct expression *out, struct error *err) MUST_USE;
void expression_done(struct expression *expression);

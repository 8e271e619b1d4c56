/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - route selection expressions ($request.body.action), compiled once.
 *
 * The grammar is in expression.h.  For routes the only variables are request.body and
 * request.body.<path>; paths are those of json_path.h.
 * Evaluation gives text: scalars as JSON text without quotes (7, true, null), a missing member "",
 * an array `[x, y]`, an object its compact JSON.
 */
#pragma once

#include "buf.h"

struct route_expression;

/* INVALID names what is wrong and where. */
enum status route_compile(const char *text, struct route_expression **out,
                          struct error *err) MUST_USE;
void route_free(struct route_expression *route);

/* The key that the message selects, added to key.  "$default" when the body is not a JSON object or
 * array, when the result is empty, or when it begins with '$' (a client cannot name $connect).
 * Keys longer than key->limit are "$default" as well. */
void route_select(const struct route_expression *route, const char *body, size_t len,
                  struct buf *key);

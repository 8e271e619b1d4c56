/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_path.h - paths into JSON: .name  ['name']  [index]  [*]  .*
 *
 * What selection expressions have behind request.body, templates behind $ and request parameters
 * behind route.request.body.
 */
#pragma once

#include "json.h"

struct json_path;

/* text begins behind the root ("$" or "request.body"); *len says how much there is and gets how
 * much belongs to the path: the rest is the caller's.  INVALID names what is wrong and where. */
enum status json_path_compile(const char *text, size_t *len, struct json_path **out,
                              struct error *err) MUST_USE;
void json_path_free(struct json_path *path); /* NULL is allowed */

/* True when every step is a name or an index, so that there is at most one value. */
bool json_path_is_single(const struct json_path *path);
/* The one value of such a path, or NULL. */
const struct json *json_path_find(const struct json_path *path, const struct json *root);

/* Adds what the path finds as text: a scalar as JSON without quotes, nothing as "", lists as
 * `[x, y]` in the way of Java, objects as compact JSON. */
void json_path_text(const struct json_path *path, const struct json *root, struct buf *out);
/* Adds what it finds as JSON: nothing as "" (two quotes), as API Gateway's $input.json does;
 * several values as an array. */
void json_path_json(const struct json_path *path, const struct json *root, struct buf *out);

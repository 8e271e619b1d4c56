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

enum { JSON_PATH_STEPS = JSON_LOOKUP_DEPTH };

/* text begins behind the root ("$" or "request.body"); *len says how much there is and gets how
 * much belongs to the path: the rest is the caller's.  INVALID says what is wrong, and *len is then
 * where: only the caller knows what stands before. */
enum status json_path_compile(const char *text, size_t *len, struct json_path **out,
                              struct error *err) MUST_USE;
void json_path_free(struct json_path *path); /* NULL is allowed */

/* True when every step is a name or an index, so that there is at most one value. */
bool json_path_is_single(const struct json_path *path);
/* The one value of such a path, or NULL. */
const struct json *json_path_find(const struct json_path *path, const struct json *root);
/* How many steps there are, and their names, for json_lookup; 0 when a step is no name. */
size_t json_path_names(const struct json_path *path, const char *names[JSON_PATH_STEPS]);

/* Calls fn for every value that the path leads to; returns how many.  root may be NULL. */
typedef void json_path_fn(void *ctx, const struct json *value);
size_t json_path_each(const struct json_path *path, const struct json *root, json_path_fn *fn,
                      void *ctx);

/* Adds what the path finds as text: a scalar as JSON without quotes, lists as `[x, y]` in the way
 * of Java, objects as compact JSON.  False, and nothing added, when it finds nothing. */
bool json_path_text(const struct json_path *path, const struct json *root, struct buf *out);
/* Adds what it finds as JSON: nothing as "" (two quotes), as API Gateway's $input.json does;
 * the values of a path with * as an array. */
void json_path_json(const struct json_path *path, const struct json *root, struct buf *out);

/* How many characters of the text a name without quotes has. */
size_t json_path_name_len(const char *text, size_t len);

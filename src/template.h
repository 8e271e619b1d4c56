/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - mapping templates: the common subset of the Velocity language with API Gateway's
 * variables, compiled once.
 *
 *   $input.body  $input.json('$.a')  $input.path('$.a')  $input.params('name')  $input.params()
 *   $context.connectionId   $context   $stageVariables.name
 *   $util.escapeJavaScript() .parseJson() .urlEncode() .urlDecode() .base64Encode() .base64Decode()
 *   #set( $x = ... )   #if / #elseif / #else / #end   #foreach( $x in ... )   ## and #* *# comments
 *   ${name}  $!name    a reference that has no value is written as it stands ($!: as nothing)
 *
 * What is missing in $input, $context and $stageVariables is written as nothing, equals "" and is
 * false; other than that everything but false and what has no value is true, as in Velocity 1.x.
 * Methods are those of template_method.c.  What is not supported (#macro, #parse, regular
 * expressions, ...) is refused when it is compiled.
 *
 * Reference: API Gateway developer guide, "mapping template reference".  Bounded: 300 KB of
 * template, output->limit bytes of output, 100,000 steps of evaluation.
 */
#pragma once

#include "request_context.h"

struct template;

/* INVALID says what is wrong and in which line. */
enum status template_compile(const char *text, size_t len, struct template **out,
                             struct error *err) MUST_USE;
void template_free(struct template *template); /* NULL is allowed */

/* True when it says the same whatever the event, and what. */
bool template_is_constant(const struct template *template, struct buf *out) MUST_USE;

/* $input is values->body.  LIMIT when the output is full or evaluation takes too many steps or 32
 * MB; INVALID when a value is not what was said to be (parseJson of what is no JSON).  What was
 * written until then stays in out. */
enum status template_render(const struct template *template, struct event_values *values,
                            struct buf *out, struct error *err) MUST_USE;

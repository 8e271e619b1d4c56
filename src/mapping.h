/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapping.h - request parameters: which values of an event go where in an HTTP request.
 *
 *   {"integration.request.header.connectionId": "context.connectionId",
 *    "integration.request.querystring.token":   "route.request.querystring.token",
 *    "integration.request.path.room":           "route.request.body.room"}
 *
 * Shapes: API Gateway developer guide, "Setting up data mapping for WebSocket APIs".
 */
#pragma once

#include "request_context.h"

struct mapping;

enum mapping_target { MAPPING_HEADER, MAPPING_QUERY, MAPPING_PATH };

/* object: a JSON object of texts.  INVALID names the parameter: an unknown target or source, a
 * header name that is no token, or one that belongs to the connection (Host, Content-Length,
 * Transfer-Encoding, Connection). */
enum status mapping_create(const struct json *object, struct mapping **out,
                           struct error *err) MUST_USE;
void mapping_free(struct mapping *mapping); /* NULL is allowed */

/* Calls fn for each parameter that has a value, in the order of the object.  CR, LF and NUL never
 * come out of here: a value that has one is left out. */
typedef void mapping_fn(void *ctx, enum mapping_target target, const char *name, const char *value);
void mapping_apply(const struct mapping *mapping, struct event_values *values, mapping_fn *fn,
                   void *ctx);

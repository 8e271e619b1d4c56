/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_internal.h - what the files that read an API description share.
 */
#pragma once

#include "api.h"

enum {
    API_MAX_ROUTES = 300,
    API_MAX_INTEGRATIONS = 300,
    API_MAX_AUTHORIZERS = 10,
    API_MAX_ENTRIES = 300, /* of any other object of names: templates, responses, variables, ... */
    API_MAX_NAME_CHARS = 256,
    API_MAX_KEYS = 10000,
    API_MAX_KEY_CHARS = 128,
    API_MAX_VARIABLE_CHARS = 2048,
    API_MAX_URL_BYTES = 2048,
    API_MAX_TEMPLATE_BYTES = 300 * 1024,
    API_MAX_CONSTANT_BYTES =
        4096, /* of a mock's request that is read once and not for every event */
    API_MIN_TIMEOUT_MS = 50,
    API_MAX_TIMEOUT_MS = 29000
};

/* Where in the document we are, for errors: a chain on the stack, innermost first. */
struct api_place {
    const struct api_place *outer; /* NULL: the document */
    const char *name;              /* NULL: the document itself */
};

/* INVALID: "routes.sendmessage: " and the text. */
enum status api_wrong(const struct api_place *place, struct error *err, const char *fmt, ...)
    PRINTF(3, 4);
/* Puts the place in front of an error of another file, and makes it INVALID. */
enum status api_wrong_at(const struct api_place *place, struct error *err);

/* The members of one kind of object.  `kinds` has a bit for each variant that may have the member,
 * `needed` for each that must. */
struct api_member {
    const char *name;
    enum json_type type;
    unsigned kinds;
    unsigned needed;
};
struct api_members {
    const char *what; /* "an authorizer" */
    const struct api_member *rows;
    size_t count;
};

/* The value is an object with all the members that it needs, none that are unknown or there twice,
 * and each of its type: what follows may trust that.  $schema and description are always allowed.
 */
enum status api_check_members(const struct api_place *place, const struct json *value,
                              const struct api_members *members, unsigned kind,
                              struct error *err) MUST_USE;
/* An object whose names are up to the author: at most `most`, none empty, too long or there twice.
 */
enum status api_check_names(const struct api_place *place, const struct json *object, size_t most,
                            struct error *err) MUST_USE;
size_t api_count_chars(const char *text);
/* timeoutInMillis of the object, or the longest. */
enum status api_get_timeout(const struct api_place *place, const struct json *object, int64_t *out,
                            struct error *err) MUST_USE;

/* api_url.c: http or https with a host.  Each {name} of the path needs
 * integration.request.path.name in parameters (NULL: there are none), and each of those a {name}.
 */
enum status api_check_url(const struct api_place *place, const char *url,
                          const struct json *parameters, struct error *err) MUST_USE;

/* api_integration.c */
enum status api_parse_integrations(const struct api_place *document, const struct json *object,
                                   struct api *api, struct error *err) MUST_USE;

/* api_routes.c: once everything that routes name is there */
enum status api_parse_routes(const struct api_place *document, const struct json *object,
                             struct api *api, struct error *err) MUST_USE;

/* api_pattern.c: the regular expression of a response's key "/5\d\d/", which matches the whole of a
 * text.  POSIX extended with \d for a digit and without repeated groups. */
enum status api_pattern_compile(const char *key, void **out, struct error *err) MUST_USE;
bool api_pattern_matches(const void *pattern, const char *text);
void api_pattern_free(void *pattern); /* NULL is allowed */

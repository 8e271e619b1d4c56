/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapping.c - request parameters: which values of an event go where in an HTTP request.
 */
#include "mapping.h"

#include <stdlib.h>
#include <string.h>

struct parameter {
    enum mapping_target target;
    char *name;
    char *source;
};

struct mapping {
    size_t count;
    struct parameter *parameters;
};

static const char *const target_prefixes[] = {
    [MAPPING_HEADER] = "integration.request.header.",
    [MAPPING_QUERY] = "integration.request.querystring.",
    [MAPPING_PATH] = "integration.request.path.",
};

/* What belongs to the connection, or says where a message ends. */
static bool is_reserved(struct slice header)
{
    return slice_is_nocase(header, "Host") || slice_is_nocase(header, "Content-Length") ||
           slice_is_nocase(header, "Transfer-Encoding") || slice_is_nocase(header, "Connection");
}

static bool has_control_char(const char *name)
{
    for (; *name; name++) {
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return true;
    }
    return false;
}

static enum status check_name(const char *key, enum mapping_target target, const char *name,
                              struct error *err)
{
    struct slice slice = {name, strlen(name)};

    if (target == MAPPING_HEADER && !http_is_token(slice))
        return fail(err, INVALID, "\"%.200s\": \"%.100s\" is no name of a header", key, name);
    if (target == MAPPING_HEADER && is_reserved(slice))
        return fail(err, INVALID, "\"%.200s\": %s belongs to the connection", key, name);
    if (slice.len == 0 || has_control_char(name))
        return fail(err, INVALID, "\"%.200s\": a name is expected", key);
    if (target == MAPPING_PATH && strpbrk(name, "{}/"))
        return fail(err, INVALID, "\"%.200s\": a name has no {, } or / in it", key);
    return OK;
}

static enum status parse_target(const char *key, struct parameter *parameter, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(target_prefixes); i++) {
        size_t len = strlen(target_prefixes[i]);
        enum status st;

        if (strncmp(key, target_prefixes[i], len) != 0)
            continue;
        st = check_name(key, (enum mapping_target)i, key + len, err);
        if (st)
            return st;
        parameter->target = (enum mapping_target)i;
        parameter->name = mem_strdup(key + len);
        return OK;
    }
    return fail(err, INVALID,
                "\"%.200s\" is none of integration.request.header.N, .querystring.N and .path.N",
                key);
}

static enum status add_parameter(struct mapping *mapping, const struct json *member,
                                 struct error *err)
{
    struct parameter *parameter = &mapping->parameters[mapping->count++];
    const char *key = json_key(member);
    const char *source = json_text(member);
    enum status st;

    if (!source)
        return fail(err, INVALID, "\"%.200s\" must be a string", key);
    st = parse_target(key, parameter, err);
    if (st)
        return st;
    if (event_source_check(source, err))
        return fail_context(err, "\"%.200s\"", key);
    parameter->source = mem_strdup(source);
    return OK;
}

enum status mapping_create(const struct json *object, struct mapping **out, struct error *err)
{
    struct mapping *mapping;
    struct error problem = {.text = ""}; /* err may be NULL, and gets a context */

    if (json_type(object) != JSON_OBJECT)
        return fail(err, INVALID, "request parameters must be an object");
    mapping = mem_alloc(sizeof(*mapping));
    mapping->parameters = mem_alloc((json_len(object) + 1) * sizeof(*mapping->parameters));
    for (const struct json *it = json_first(object); it; it = json_next(it)) {
        if (add_parameter(mapping, it, &problem)) {
            mapping_free(mapping);
            return fail(err, problem.status, "%s", problem.text);
        }
    }
    *out = mapping;
    return OK;
}

void mapping_free(struct mapping *mapping)
{
    if (!mapping)
        return;
    for (size_t i = 0; i < mapping->count; i++) {
        free(mapping->parameters[i].name);
        free(mapping->parameters[i].source);
    }
    free(mapping->parameters);
    free(mapping);
}

/* With one of these a value would end the line that it stands in, or be read only in part. */
static bool is_one_line(const struct buf *value)
{
    return value->len == 0 ||
           (!memchr(value->data, '\r', value->len) && !memchr(value->data, '\n', value->len) &&
            !memchr(value->data, '\0', value->len));
}

void mapping_apply(const struct mapping *mapping, struct event_values *values, mapping_fn *fn,
                   void *ctx)
{
    struct buf value;

    buf_init(&value, SIZE_MAX); /* no larger than the event makes it */
    for (size_t i = 0; i < mapping->count; i++) {
        const struct parameter *parameter = &mapping->parameters[i];

        buf_clear(&value);
        if (event_source_get(parameter->source, values, &value) && is_one_line(&value))
            fn(ctx, parameter->target, parameter->name, buf_str(&value));
    }
    buf_done(&value);
}

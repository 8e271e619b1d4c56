/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_mapping.c - any bytes as request parameters, as the handshake and as the message that they
 * map.
 *
 * The input is the parameters, a line "====", the handshake, a line "====", and the message.
 */
#include "mapping.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables[] = "{\"phase\":\"initial\"}";

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

/* Up to the separator, which is taken away too. */
static struct slice next_part(struct slice *rest)
{
    static const char separator[] = "\n====\n";
    const char *end =
        rest->len ? memmem(rest->data, rest->len, separator, strlen(separator)) : NULL;
    struct slice part = *rest;

    if (end)
        part.len = (size_t)(end - part.data);
    rest->data += part.len + (end ? strlen(separator) : 0);
    rest->len -= part.len + (end ? strlen(separator) : 0);
    return part;
}

static void check_parameter(void *ctx, enum mapping_target target, const char *name,
                            const char *value)
{
    size_t *count = ctx;

    ++*count;
    require(name[0] != '\0' && !strpbrk(name, "\r\n") && !strpbrk(value, "\r\n"));
    require(target == MAPPING_HEADER || target == MAPPING_QUERY || target == MAPPING_PATH);
    if (target == MAPPING_HEADER)
        require(http_is_token((struct slice){name, strlen(name)}));
}

static void apply(const struct mapping *mapping, size_t most, const struct http_head *head,
                  struct slice body)
{
    struct request_context context;
    struct json *stage_variables = NULL;
    struct event_values values = {
        .context = &context, .head = head, .body = body.data, .body_len = body.len};
    size_t count = 0;

    request_context_init(&context);
    context.stage = "dev";
    context.authorizer = "{\"principalId\":\"user-1\",\"n\":7}";
    require(json_parse(variables, strlen(variables), &stage_variables, NULL) == OK);
    values.stage_variables = stage_variables;
    mapping_apply(mapping, &values, check_parameter, &count);
    require(count <= most);
    event_values_done(&values);
    json_free(stage_variables);
}

/* Any text as a source: checked, it can be asked for. */
static void check_source(struct slice text, struct slice body)
{
    struct request_context context;
    struct event_values values = {.context = &context, .body = body.data, .body_len = body.len};
    char *source = slice_dup(text);
    struct error err = {.text = ""};
    struct buf out;

    request_context_init(&context);
    buf_init(&out, SIZE_MAX);
    if (event_source_check(source, &err))
        require(err.status == INVALID && err.text[0] != '\0');
    else if (!event_source_get(source, &values, &out))
        require(out.len == 0);
    buf_done(&out);
    free(source);
    event_values_done(&values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct slice parameters = next_part(&rest);
    struct slice request = next_part(&rest);
    struct mapping *mapping = NULL;
    struct json *json = NULL;
    struct http_head head;
    bool has_head = http_head_parse(request.data, request.len, &head, NULL) == OK;

    check_source(parameters, rest);
    if (json_parse(parameters.data, parameters.len, &json, NULL))
        return 0;
    if (mapping_create(json, &mapping, NULL) == OK)
        apply(mapping, json_len(json), has_head ? &head : NULL, rest);
    mapping_free(mapping);
    json_free(json);
    return 0;
}

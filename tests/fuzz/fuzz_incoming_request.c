/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_incoming_request.c - any bytes as the headers, parameters and body of an HTTP_PROXY request:
 * what is taken for an event has the id and the type that its headers say.
 *
 * The input is lines "name: value" of headers, a line "====", such lines of parameters, a line
 * "====", and the body.
 */
#include "incoming.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS_MOST = 64 };

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

/* Up to the separator, which becomes its end. */
static char *next_part(char **rest)
{
    static const char separator[] = "\n====\n";
    char *part = *rest;
    char *end = strstr(part, separator);

    *rest = end ? end + strlen(separator) : part + strlen(part);
    if (end)
        *end = '\0';
    return part;
}

static size_t read_fields(char *text, struct incoming_field out[FIELDS_MOST])
{
    size_t count = 0;
    char *line;

    while (count < FIELDS_MOST && (line = strsep(&text, "\n"))) {
        char *value = strstr(line, ": ");

        if (!value)
            continue;
        *value = '\0';
        out[count++] = (struct incoming_field){line, value + 2};
    }
    return count;
}

static bool has_value(const struct incoming_request *request, const char *name, const char *value)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0 &&
            (!utf8_is_valid(request->headers[i].value, strlen(request->headers[i].value)) ||
             strcmp(request->headers[i].value, value) == 0))
            return true;
    return false;
}

static void check(const struct incoming_request *request, const struct incoming *event)
{
    require(event->kind == INCOMING_CONNECT || event->kind == INCOMING_MESSAGE ||
            event->kind == INCOMING_DISCONNECT);
    require(has_value(request, "connectionId", event->connection_id));
    require((event->kind == INCOMING_MESSAGE) == (event->body != NULL));
    require(!event->op && !event->method_arn && !event->has_authorizer);
    for (size_t i = 0; event->kind == INCOMING_CONNECT && i < request->header_count; i++)
        if (incoming_is_mapped(request->headers[i].name))
            require(!incoming_header(event, request->headers[i].name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    char *rest = text;
    struct incoming_field headers[FIELDS_MOST], parameters[FIELDS_MOST];
    struct incoming_request request = {.headers = headers, .query = parameters};
    struct incoming event;

    request.header_count = read_fields(next_part(&rest), headers);
    request.query_count = read_fields(next_part(&rest), parameters);
    request.body_len = size - (size_t)(rest - text);
    request.body = rest;
    if (incoming_from_request(&request, &event, NULL) == OK) {
        check(&request, &event);
        incoming_done(&event);
    }
    free(text);
    return 0;
}

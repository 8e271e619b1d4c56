/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_context.c - the values that one event offers to expressions.
 */
#include "request_context.h"

#include "event.h"
#include "json_path.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- $context ---- */

enum kind {
    KIND_TEXT,
    KIND_NUMBER,
    KIND_TIME,       /* a number of milliseconds, printed as access logs have it */
    KIND_QUOTED,     /* a text as a JSON string, quotes included */
    KIND_REQUEST_ID, /* what requestId has where the field is NULL */
};

/* Sorted by group: "" first, then what stands in front of the dot. */
struct variable {
    const char *group;
    const char *name;
    enum kind kind;
    size_t offset;
};

#define FIELD(member) offsetof(struct request_context, member)

static const struct variable variables[] = {
    {"", "requestId", KIND_TEXT, FIELD(request_id)},
    {"", "extendedRequestId", KIND_REQUEST_ID, FIELD(extended_request_id)},
    {"", "apiId", KIND_TEXT, FIELD(api_id)},
    {"", "stage", KIND_TEXT, FIELD(stage)},
    {"", "domainName", KIND_TEXT, FIELD(domain_name)},
    {"", "routeKey", KIND_TEXT, FIELD(route_key)},
    {"", "eventType", KIND_TEXT, FIELD(event_type)},
    {"", "connectionId", KIND_TEXT, FIELD(connection_id)},
    {"", "messageId", KIND_TEXT, FIELD(message_id)},
    {"", "connectedAt", KIND_NUMBER, FIELD(connected_at_ms)},
    {"", "requestTime", KIND_TIME, FIELD(request_time_ms)},
    {"", "requestTimeEpoch", KIND_NUMBER, FIELD(request_time_ms)},
    {"", "disconnectStatusCode", KIND_NUMBER, FIELD(disconnect_code)},
    {"", "disconnectReason", KIND_TEXT, FIELD(disconnect_reason)},
    {"", "status", KIND_NUMBER, FIELD(status)},
    {"", "integrationLatency", KIND_NUMBER, FIELD(integration_latency_ms)},
    {"authorizer", "status", KIND_NUMBER, FIELD(authorizer_status)},
    {"authorizer", "integrationStatus", KIND_NUMBER, FIELD(authorizer_status)},
    {"authorizer", "latency", KIND_NUMBER, FIELD(authorizer_latency_ms)},
    {"authorizer", "integrationLatency", KIND_NUMBER, FIELD(authorizer_latency_ms)},
    {"authorizer", "error", KIND_TEXT, FIELD(authorizer_error)},
    {"error", "message", KIND_TEXT, FIELD(error_message)},
    {"error", "messageString", KIND_QUOTED, FIELD(error_message)},
    {"error", "responseType", KIND_TEXT, FIELD(error_response_type)},
    {"identity", "sourceIp", KIND_TEXT, FIELD(source_ip)},
    {"identity", "userAgent", KIND_TEXT, FIELD(user_agent)},
    {"identity", "apiKey", KIND_TEXT, FIELD(api_key)},
    {"identity", "caller", KIND_TEXT, FIELD(caller)},
    {"identity", "user", KIND_TEXT, FIELD(caller)},
    {"identity", "userArn", KIND_TEXT, FIELD(caller)},
};

void request_context_init(struct request_context *context)
{
    *context = (struct request_context){.connected_at_ms = -1,
                                        .request_time_ms = -1,
                                        .disconnect_code = -1,
                                        .status = -1,
                                        .integration_latency_ms = -1,
                                        .authorizer_status = -1,
                                        .authorizer_latency_ms = -1};
}

static const char *text_of(const struct request_context *context, const struct variable *variable)
{
    const char *text;

    memcpy(&text, (const char *)context + variable->offset, sizeof(text));
    if (!text && variable->kind == KIND_REQUEST_ID)
        return context->request_id;
    return text;
}

static int64_t number_of(const struct request_context *context, const struct variable *variable)
{
    int64_t number;

    memcpy(&number, (const char *)context + variable->offset, sizeof(number));
    return number;
}

static bool add_number(const struct request_context *context, const struct variable *variable,
                       struct buf *out)
{
    int64_t number = number_of(context, variable);
    char time[EVENT_TIME_BYTES];

    if (number < 0)
        return false;
    if (variable->kind == KIND_NUMBER) {
        buf_addf(out, "%" PRId64, number);
        return true;
    }
    event_format_time(number, time);
    buf_adds(out, time);
    return true;
}

static bool add_text(const struct request_context *context, const struct variable *variable,
                     struct buf *out)
{
    const char *text = text_of(context, variable);

    if (!text)
        return false;
    if (variable->kind == KIND_QUOTED)
        json_add_string(out, text, strlen(text));
    else
        buf_adds(out, text);
    return true;
}

static bool add_variable(const struct request_context *context, const struct variable *variable,
                         struct buf *out)
{
    if (variable->kind == KIND_NUMBER || variable->kind == KIND_TIME)
        return add_number(context, variable, out);
    return add_text(context, variable, out);
}

/* What the authorizer said, or NULL. */
static struct json *parse_authorizer(const struct request_context *context)
{
    struct json *tree = NULL;

    if (!context->authorizer ||
        json_parse(context->authorizer, strlen(context->authorizer), &tree, NULL))
        return NULL;
    return tree;
}

static bool add_property(const struct request_context *context, struct slice name, struct buf *out)
{
    struct json *tree = parse_authorizer(context);
    char *key = slice_dup(name);
    const struct json *value = json_get(tree, key);
    bool is_there = value && json_type(value) != JSON_NULL;

    if (is_there && json_type(value) == JSON_STRING)
        buf_adds(out, json_text(value));
    else if (is_there)
        json_add(out, value);
    free(key);
    json_free(tree);
    return is_there;
}

static bool is_called(const struct variable *variable, struct slice name)
{
    size_t group = strlen(variable->group);

    if (group == 0)
        return slice_is(name, variable->name);
    return name.len > group && memcmp(name.data, variable->group, group) == 0 &&
           name.data[group] == '.' &&
           slice_is((struct slice){name.data + group + 1, name.len - group - 1}, variable->name);
}

/* An authorizer's own property comes before the figure of the same name. */
bool request_context_get(const struct request_context *context, const char *name, size_t len,
                         struct buf *out)
{
    static const char authorizer[] = "authorizer.";
    size_t prefix = strlen(authorizer);

    if (len > prefix && memcmp(name, authorizer, prefix) == 0 &&
        add_property(context, (struct slice){name + prefix, len - prefix}, out))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        if (is_called(&variables[i], (struct slice){name, len}))
            return add_variable(context, &variables[i], out);
    }
    return false;
}

static void write_member(const struct request_context *context, const struct variable *variable,
                         struct buf *out)
{
    struct buf text;

    if (variable->kind == KIND_NUMBER) {
        if (number_of(context, variable) >= 0)
            json_int(out, variable->name, number_of(context, variable));
        return;
    }
    buf_init(&text, SIZE_MAX);
    if (add_variable(context, variable, &text))
        json_strn(out, variable->name, buf_str(&text), text.len);
    buf_done(&text);
}

/* The variables of a group, and what the authorizer added; an empty group is left out. */
static void write_group(const struct request_context *context, const char *group,
                        const struct json *properties, struct buf *out)
{
    size_t start = out->len;
    size_t opened;

    json_open(out, group, '{');
    opened = out->len;
    for (const struct json *it = properties ? json_first(properties) : NULL; it; it = json_next(it))
        json_write(out, json_key(it), it);
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        if (strcmp(variables[i].group, group) == 0 && !json_get(properties, variables[i].name))
            write_member(context, &variables[i], out);
    }
    if (out->len == opened)
        out->len = start;
    else
        json_close(out, '}');
}

void request_context_json(const struct request_context *context, struct buf *out)
{
    struct json *authorizer = parse_authorizer(context);
    bool is_object = authorizer && json_type(authorizer) == JSON_OBJECT;

    buf_addc(out, '{');
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        if (variables[i].group[0] == '\0')
            write_member(context, &variables[i], out);
    }
    write_group(context, "authorizer", is_object ? authorizer : NULL, out);
    write_group(context, "error", NULL, out);
    write_group(context, "identity", NULL, out);
    json_close(out, '}');
    json_free(authorizer);
}

void request_context_write(const struct request_context *context, struct buf *out)
{
    struct json *tree = NULL;
    struct buf text;

    buf_init(&text, SIZE_MAX);
    request_context_json(context, &text);
    if (json_parse(buf_str(&text), text.len, &tree, NULL) == OK)
        json_add_java(out, tree);
    json_free(tree);
    buf_done(&text);
}

/* ---- the event ---- */

const struct json *event_values_json(struct event_values *values)
{
    if (!values->is_parsed && values->body &&
        json_parse(values->body, values->body_len, &values->parsed, NULL))
        values->parsed = NULL;
    values->is_parsed = true;
    return values->parsed;
}

void event_values_done(struct event_values *values)
{
    json_free(values->parsed);
    values->parsed = NULL;
    values->is_parsed = false;
}

/* ---- headers and query ---- */

static bool is_same_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

/* Adds the values of a name: the last one, or all with commas between them. */
struct collector {
    struct buf *out;
    size_t start;
    bool is_multi;
    bool is_found;
};

static void begin_value(struct collector *collector)
{
    if (!collector->is_multi)
        collector->out->len = collector->start;
    else if (collector->is_found)
        buf_addc(collector->out, ',');
    collector->is_found = true;
}

static bool get_header(const struct event_values *values, struct slice name, bool is_multi,
                       struct buf *out)
{
    struct collector collector = {out, out->len, is_multi, false};

    for (size_t i = 0; values->head && i < values->head->header_count; i++) {
        const struct http_header *header = &values->head->headers[i];

        if (is_same_nocase(header->name, name)) {
            begin_value(&collector);
            buf_add(out, header->value.data, header->value.len);
        }
    }
    return collector.is_found;
}

static bool get_query(const struct event_values *values, struct slice name, bool is_multi,
                      struct buf *out)
{
    struct collector collector = {out, out->len, is_multi, false};
    struct slice rest = values->head ? values->head->query : (struct slice){0};
    struct slice key;
    struct slice value;
    struct buf decoded;

    buf_init(&decoded, SIZE_MAX);
    while (query_next(&rest, &key, &value)) {
        buf_clear(&decoded);
        query_decode(key, &decoded);
        if (decoded.len == name.len &&
            (name.len == 0 || memcmp(decoded.data, name.data, name.len) == 0)) {
            begin_value(&collector);
            query_decode(value, out);
        }
    }
    buf_done(&decoded);
    return collector.is_found;
}

bool event_query_get(const struct event_values *values, struct slice name, struct buf *out)
{
    return get_query(values, name, false, out);
}

bool event_header_get(const struct event_values *values, struct slice name, struct buf *out)
{
    return get_header(values, name, false, out);
}

/* ---- sources ---- */

enum source_kind {
    SOURCE_HEADER,
    SOURCE_MULTI_HEADER,
    SOURCE_QUERY,
    SOURCE_MULTI_QUERY,
    SOURCE_STAGE_VARIABLE,
    SOURCE_CONTEXT,
    SOURCE_BODY,
    SOURCE_LITERAL,
    SOURCE_UNKNOWN
};

static const char *const source_prefixes[] = {
    [SOURCE_HEADER] = "route.request.header.",
    [SOURCE_MULTI_HEADER] = "route.request.multivalueheader.",
    [SOURCE_QUERY] = "route.request.querystring.",
    [SOURCE_MULTI_QUERY] = "route.request.multivaluequerystring.",
    [SOURCE_STAGE_VARIABLE] = "stageVariables.",
    [SOURCE_CONTEXT] = "context.",
    [SOURCE_BODY] = "route.request.body",
    [SOURCE_LITERAL] = "'",
};

/* *rest: what stands behind the prefix. */
static enum source_kind source_kind(const char *source, const char **rest)
{
    for (size_t i = 0; i < ARRAY_LEN(source_prefixes); i++) {
        size_t len = strlen(source_prefixes[i]);

        if (strncmp(source, source_prefixes[i], len) == 0) {
            *rest = source + len;
            return (enum source_kind)i;
        }
    }
    return SOURCE_UNKNOWN;
}

/* The characters that API Gateway allows in the names of sources. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                "0123456789._-")] == '\0';
}

static enum status compile_body_path(const char *source, const char *rest, struct json_path **path,
                                     struct error *err)
{
    size_t len = strlen(rest);
    size_t used = len;
    struct error problem = {.text = ""};
    enum status st = json_path_compile(rest, &used, path, &problem);

    if (st)
        return fail(err, INVALID, "source \"%.200s\": %s at byte %zu", source, problem.text,
                    (size_t)(rest - source) + used);
    if (used == len)
        return OK;
    json_path_free(*path);
    *path = NULL;
    return fail(err, INVALID, "source \"%.200s\": a path is expected at byte %zu", source,
                (size_t)(rest - source) + used);
}

static bool is_literal_end(const char *rest)
{
    const char *quote = strchr(rest, '\'');

    return quote && quote[1] == '\0';
}

enum status event_source_check(const char *source, struct error *err)
{
    struct json_path *path = NULL;
    const char *rest = source;
    enum status st;

    switch (source_kind(source, &rest)) {
    case SOURCE_HEADER:
    case SOURCE_MULTI_HEADER:
    case SOURCE_QUERY:
    case SOURCE_MULTI_QUERY:
    case SOURCE_STAGE_VARIABLE:
    case SOURCE_CONTEXT:
        if (is_plain_name(rest))
            return OK;
        return fail(err, INVALID, "source \"%.200s\": a name of A-Z a-z 0-9 . _ - is expected",
                    source);
    case SOURCE_BODY:
        st = compile_body_path(source, rest, &path, err);
        json_path_free(path);
        return st;
    case SOURCE_LITERAL:
        if (is_literal_end(rest))
            return OK;
        return fail(err, INVALID, "source \"%.200s\": one closing quote is expected at the end",
                    source);
    case SOURCE_UNKNOWN:
        break;
    }
    return fail(err, INVALID,
                "source \"%.200s\" is none of route.request.header.N, .querystring.N, "
                ".multivalueheader.N, .multivaluequerystring.N, .body, stageVariables.N, "
                "context.N and 'text'",
                source);
}

static bool get_body(const char *source, const char *rest, struct event_values *values,
                     struct buf *out)
{
    struct json_path *path = NULL;
    bool is_found;

    if (*rest == '\0') {
        if (values->body)
            buf_add(out, values->body, values->body_len);
        return values->body != NULL;
    }
    if (compile_body_path(source, rest, &path, NULL))
        return false;
    is_found = json_path_text(path, event_values_json(values), out);
    json_path_free(path);
    return is_found;
}

static bool get_stage_variable(const struct event_values *values, const char *name, struct buf *out)
{
    const char *text = json_text(json_get(values->stage_variables, name));

    if (!text)
        return false;
    buf_adds(out, text);
    return true;
}

bool event_source_get(const char *source, struct event_values *values, struct buf *out)
{
    const char *rest = source;
    enum source_kind kind = source_kind(source, &rest);
    struct slice name = {rest, strlen(rest)};

    switch (kind) {
    case SOURCE_HEADER:
    case SOURCE_MULTI_HEADER:
        return get_header(values, name, kind == SOURCE_MULTI_HEADER, out);
    case SOURCE_QUERY:
    case SOURCE_MULTI_QUERY:
        return get_query(values, name, kind == SOURCE_MULTI_QUERY, out);
    case SOURCE_STAGE_VARIABLE:
        return get_stage_variable(values, rest, out);
    case SOURCE_CONTEXT:
        return request_context_get(values->context, rest, name.len, out);
    case SOURCE_BODY:
        return get_body(source, rest, values, out);
    case SOURCE_LITERAL:
        buf_add(out, rest, name.len - 1);
        return true;
    case SOURCE_UNKNOWN:
        break;
    }
    return false;
}

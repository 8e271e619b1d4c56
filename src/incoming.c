/* SPDX-License-Identifier: Apache-2.0 */
#include "incoming.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base64url.h"

static const char latency_key[] = "integrationLatency"; /* of an authorizer */

static const char *text_of(const struct json *object, const char *key)
{
    const struct json *value =
        object && json_type(object) == JSON_OBJECT ? json_get(object, key) : NULL;

    return value ? json_text(value) : NULL;
}

/* null is as good as not there, as everywhere in an event. */
static bool has_value(const struct json *object, const char *key)
{
    const struct json *value = json_get(object, key);

    return value && json_type(value) != JSON_NULL;
}

static bool has_text(const struct json *object, const char *key, const char *text)
{
    const char *value = text_of(object, key);

    return value && strcmp(value, text) == 0;
}

static int64_t integer_of(const struct json *object, const char *key, int64_t fallback)
{
    int64_t value = fallback;

    return json_opt_int(object, key, &value, NULL) == OK ? value : fallback;
}

static const struct json *object_of(const struct json *object, const char *key)
{
    const struct json *value = json_get(object, key);

    return value && json_type(value) == JSON_OBJECT ? value : NULL;
}

/* ---- which kind ---- */

static bool is_scheduled(const struct json *document)
{
    return (has_text(document, "source", "aws.events") ||
            has_text(document, "source", "aws.scheduler")) &&
           has_text(document, "detail-type", "Scheduled Event");
}

static const struct json *first_record(const struct json *document)
{
    const struct json *records = json_get(document, "Records");

    return records && json_type(records) == JSON_ARRAY ? json_at(records, 0) : NULL;
}

static enum incoming_kind kind_of_context(const struct json *context)
{
    static const struct {
        const char *type;
        enum incoming_kind kind;
    } kinds[] = {
        {"CONNECT", INCOMING_CONNECT},
        {"MESSAGE", INCOMING_MESSAGE},
        {"DISCONNECT", INCOMING_DISCONNECT},
    };
    const char *id = text_of(context, "connectionId");

    for (size_t i = 0; id && *id && i < ARRAY_LEN(kinds); i++)
        if (has_text(context, "eventType", kinds[i].type))
            return kinds[i].kind;
    return INCOMING_UNKNOWN;
}

static enum incoming_kind find_kind(const struct json *document)
{
    const struct json *context = object_of(document, "requestContext");
    enum incoming_kind kind = context ? kind_of_context(context) : INCOMING_UNKNOWN;

    if (has_text(document, "type", "REQUEST") && text_of(document, "methodArn"))
        return INCOMING_AUTHORIZER;
    if (kind != INCOMING_UNKNOWN)
        return kind;
    if (is_scheduled(document))
        return INCOMING_SCHEDULE;
    if (text_of(document, "source") && text_of(document, "detail-type") &&
        has_value(document, "detail"))
        return INCOMING_EVENTBRIDGE;
    if (has_text(first_record(document), "eventSource", "aws:sqs"))
        return INCOMING_SQS;
    if (has_text(first_record(document), "EventSource", "aws:sns"))
        return INCOMING_SNS;
    if ((context && has_value(context, "http")) || has_value(document, "httpMethod"))
        return INCOMING_HTTP;
    return text_of(document, "op") ? INCOMING_COMMAND : INCOMING_UNKNOWN;
}

const char *incoming_kind_name(enum incoming_kind kind)
{
    static const char *const names[] = {
        [INCOMING_AUTHORIZER] = "authorizer",
        [INCOMING_CONNECT] = "connect",
        [INCOMING_MESSAGE] = "message",
        [INCOMING_DISCONNECT] = "disconnect",
        [INCOMING_SCHEDULE] = "schedule",
        [INCOMING_EVENTBRIDGE] = "eventbridge",
        [INCOMING_SQS] = "sqs",
        [INCOMING_SNS] = "sns",
        [INCOMING_HTTP] = "http",
        [INCOMING_COMMAND] = "command",
        [INCOMING_UNKNOWN] = "unknown",
    };

    return names[kind];
}

/* ---- its members ---- */

/* Messages never come in base64 from a WebSocket API today; it is part of the shape all the same.
 * What cannot be a text of PostgreSQL when it is decoded stays as it came. */
static void take_body(struct incoming *out)
{
    const struct json *flag = json_get(out->document, "isBase64Encoded");
    unsigned char *bytes;
    size_t len;

    out->body = text_of(out->document, "body");
    if (!out->body || !flag || !json_is_true(flag))
        return;
    bytes = base64_decode(out->body, strlen(out->body), &len);
    if (bytes && !memchr(bytes, 0, len) && utf8_is_valid((const char *)bytes, len))
        out->body = out->decoded = mem_strndup((const char *)bytes, len);
    free(bytes);
}

/* Where the gateway has one it says who that is; how long it took says nothing. */
static bool has_authorizer(const struct json *context)
{
    const struct json *authorizer = object_of(context, "authorizer");

    for (const struct json *m = authorizer ? json_first(authorizer) : NULL; m; m = json_next(m))
        if (strcmp(json_key(m), latency_key) != 0 && json_type(m) != JSON_NULL)
            return true;
    return false;
}

static void take_context(struct incoming *out)
{
    const struct json *context = object_of(out->document, "requestContext");
    const struct json *identity;

    if (!context)
        return;
    identity = object_of(context, "identity");
    out->request_context = context;
    out->has_authorizer = has_authorizer(context);
    out->connection_id = text_of(context, "connectionId");
    out->request_id = text_of(context, "requestId");
    out->message_id = text_of(context, "messageId");
    out->route_key = text_of(context, "routeKey");
    out->stage = text_of(context, "stage");
    out->domain_name = text_of(context, "domainName");
    out->api_id = text_of(context, "apiId");
    out->source_ip = text_of(identity, "sourceIp");
    out->user_agent = text_of(identity, "userAgent");
    out->connected_at_ms = integer_of(context, "connectedAt", 0);
    out->code = integer_of(context, "disconnectStatusCode", 1005);
    out->reason = text_of(context, "disconnectReason");
    if (!out->reason)
        out->reason = "";
}

enum status incoming_parse(const char *text, size_t len, struct incoming *out, struct error *err)
{
    struct json *document = NULL;
    enum status status = json_parse(text, len, &document, err);

    if (status != OK)
        return status;
    if (json_type(document) != JSON_OBJECT) {
        json_free(document);
        return fail(err, INVALID, "an event is a JSON object");
    }
    *out = (struct incoming){.document = document, .kind = find_kind(document)};
    take_context(out);
    out->method_arn = text_of(document, "methodArn");
    out->op = text_of(document, "op");
    if (out->kind == INCOMING_MESSAGE)
        take_body(out);
    return OK;
}

void incoming_done(struct incoming *incoming)
{
    json_free(incoming->document);
    free(incoming->decoded);
    *incoming = (struct incoming){.kind = INCOMING_UNKNOWN};
}

/* ---- the handshake ---- */

const char *incoming_header(const struct incoming *incoming, const char *name)
{
    const struct json *headers = object_of(incoming->document, "headers");
    const char *found = NULL;

    for (const struct json *h = headers ? json_first(headers) : NULL; h; h = json_next(h))
        if (strcasecmp(json_key(h), name) == 0)
            found = json_text(h);
    return found;
}

const char *incoming_query(const struct incoming *incoming, const char *name)
{
    return text_of(object_of(incoming->document, "queryStringParameters"), name);
}

static void write_authorizer(const struct json *known, const char *authorizer, struct buf *out)
{
    if (authorizer) {
        json_raw(out, "authorizer", authorizer, strlen(authorizer));
        return;
    }
    json_open(out, "authorizer", '{');
    for (const struct json *m = json_first(known); m; m = json_next(m))
        if (strcmp(json_key(m), latency_key) != 0)
            json_write(out, json_key(m), m);
    json_close(out, '}');
}

static void write_context(const struct json *context, const char *authorizer, struct buf *out)
{
    const struct json *known = object_of(context, "authorizer");

    json_open(out, "requestContext", '{');
    for (const struct json *m = json_first(context); m; m = json_next(m))
        if (strcmp(json_key(m), "authorizer") != 0)
            json_write(out, json_key(m), m);
    if (authorizer || known)
        write_authorizer(known, authorizer, out);
    json_close(out, '}');
}

void incoming_write_connect(const struct incoming *incoming, const char *authorizer,
                            struct buf *out)
{
    static const char *const kept[] = {"headers", "queryStringParameters"};

    json_open(out, NULL, '{');
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const struct json *member = object_of(incoming->document, kept[i]);

        if (member)
            json_write(out, kept[i], member);
    }
    write_context(incoming->request_context, authorizer, out);
    json_close(out, '}');
}

/* ---- requests of an HTTP_PROXY integration ---- */

enum { DIGITS_MOST = 18 };

/* Headers that hold the context; the names are those of requestContext.  The gateway puts them over
 * what the client has sent under the same names. */
static const struct mapped {
    const char *name;
    const char *alias; /* in examples of AWS, or sent without being asked for; NULL: none */
    bool is_number;
    bool is_identity;
} mapped[] = {
    {"connectionId", NULL, false, false},
    {"routeKey", NULL, false, false},
    {"messageId", NULL, false, false},
    {"requestId", NULL, false, false},
    {"stage", "stageName", false, false},
    {"apiId", "x-amzn-apigateway-api-id", false, false},
    {"domainName", NULL, false, false},
    {"connectedAt", NULL, true, false},
    {"disconnectStatusCode", NULL, true, false},
    {"disconnectReason", NULL, false, false},
    {"sourceIp", NULL, false, true},
    {"userAgent", NULL, false, true},
};

static const char event_type_header[] = "eventType";

bool incoming_is_mapped(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(mapped); i++)
        if (strcasecmp(name, mapped[i].name) == 0 ||
            (mapped[i].alias && strcasecmp(name, mapped[i].alias) == 0))
            return true;
    return strcasecmp(name, event_type_header) == 0;
}

/* The last one counts, and an empty one is none. */
static const char *field_of(const struct incoming_request *request, const char *name)
{
    const char *found = NULL;

    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0 && *request->headers[i].value)
            found = request->headers[i].value;
    return found;
}

static const char *mapped_value(const struct incoming_request *request, const struct mapped *row)
{
    const char *value = field_of(request, row->name);

    if (!value && row->alias)
        value = field_of(request, row->alias);
    if (value && row->is_number &&
        (strlen(value) > DIGITS_MOST || strspn(value, "0123456789") != strlen(value)))
        return NULL;
    return value;
}

static void write_mapped(const struct incoming_request *request, bool is_identity, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(mapped); i++) {
        const char *value = mapped_value(request, &mapped[i]);

        if (!value || mapped[i].is_identity != is_identity)
            continue;
        if (mapped[i].is_number)
            json_int(out, mapped[i].name, strtoll(value, NULL, 10));
        else
            json_str(out, mapped[i].name, value);
    }
}

/* What the client sent, and who calls for it: the gateway's own Host is in domainName. */
static void write_handshake(const struct incoming_request *request, struct buf *out)
{
    const char *domain_name = field_of(request, "domainName");

    json_open(out, "headers", '{');
    for (size_t i = 0; i < request->header_count; i++) {
        const struct incoming_field *header = &request->headers[i];

        if (strcasecmp(header->name, "Host") == 0)
            json_str(out, "Host", domain_name ? domain_name : header->value);
        else if (!incoming_is_mapped(header->name))
            json_str(out, header->name, header->value);
    }
    json_close(out, '}');
    if (request->query_count == 0)
        return;
    json_open(out, "queryStringParameters", '{');
    for (size_t i = 0; i < request->query_count; i++)
        json_str(out, request->query[i].name, request->query[i].value);
    json_close(out, '}');
}

/* The name of the route says it as well. */
static const char *event_type_of(const struct incoming_request *request)
{
    const char *type = field_of(request, event_type_header);
    const char *route = field_of(request, "routeKey");

    if (type || !route)
        return type;
    if (strcmp(route, "$connect") == 0)
        return "CONNECT";
    return strcmp(route, "$disconnect") == 0 ? "DISCONNECT" : "MESSAGE";
}

static void write_request(const struct incoming_request *request, const char *type, struct buf *out)
{
    json_open(out, NULL, '{');
    if (strcmp(type, "CONNECT") == 0)
        write_handshake(request, out);
    json_open(out, "requestContext", '{');
    json_str(out, "eventType", type);
    write_mapped(request, false, out);
    json_open(out, "identity", '{');
    write_mapped(request, true, out);
    json_close(out, '}');
    json_close(out, '}');
    if (strcmp(type, "MESSAGE") == 0)
        json_strn(out, "body", request->body ? request->body : "", request->body_len);
    json_close(out, '}');
}

static enum status missing(const char *header, struct error *err)
{
    return fail(err, INVALID,
                "The header %s is missing: map integration.request.header.%s to context.%s", header,
                header, header);
}

enum status incoming_from_request(const struct incoming_request *request, struct incoming *out,
                                  struct error *err)
{
    const char *type = event_type_of(request);
    struct buf text;
    enum status status;

    if (!field_of(request, "connectionId"))
        return missing("connectionId", err);
    if (!type)
        return missing(event_type_header, err);
    if (strcmp(type, "CONNECT") != 0 && strcmp(type, "MESSAGE") != 0 &&
        strcmp(type, "DISCONNECT") != 0)
        return fail(err, INVALID, "eventType is none of CONNECT, MESSAGE and DISCONNECT");
    buf_init(&text, SIZE_MAX); /* a few times what came */
    write_request(request, type, &text);
    status = incoming_parse(buf_str(&text), text.len, out, err);
    buf_done(&text);
    return status;
}

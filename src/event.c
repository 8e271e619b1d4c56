/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.c - the identifiers and the JSON of API Gateway WebSocket events.
 */
#include "event.h"

#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- identifiers ---- */

enum {
    ID_BYTES = 13,
    ID_MAGIC = 0x81, /* ids begin with 'g', as those of API Gateway do */
    ID_COUNTER = 1,  /* offsets: in front, so that rows made together stand together in an index; */
    ID_CHECK = 5,    /* the check of the rest, 2 bytes; */
    ID_TAIL = 7,     /* random; shared by a connection and its messages */
    ID_TAIL_BYTES = 6,
    REQUEST_BYTES = 11
};

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* base64url with padding; out has room for 4 characters per 3 bytes begun, and a NUL. */
static void base64url_encode(const unsigned char *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group = (uint32_t)bytes[i] << 16;

        group |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= left > 2 ? bytes[i + 2] : 0;
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = '=';
        *out++ = '=';
        if (left > 1)
            out[-2] = alphabet[group >> 6 & 63];
        if (left > 2)
            out[-1] = alphabet[group & 63];
    }
    *out = '\0';
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

/* The 13 bytes of an id.  Takes exactly what base64url_encode makes: the bits behind the last byte
 * are 0, or two texts would name one connection. */
static bool decode_id(const char *id, unsigned char out[ID_BYTES])
{
    uint32_t bits = 0;
    size_t bit_count = 0;
    size_t n = 0;

    if (strnlen(id, CONNECTION_ID_BYTES) != CONNECTION_ID_BYTES - 1 || strcmp(id + 18, "==") != 0)
        return false;
    for (size_t i = 0; i < 18; i++) {
        int digit = digit_value(id[i]);

        if (digit < 0)
            return false;
        bits = (bits << 6 | (uint32_t)digit) & 0xFFFF;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[n++] = (unsigned char)(bits >> bit_count);
        }
    }
    return (bits & ((1U << bit_count) - 1)) == 0;
}

/* CRC-16 (polynomial 0x1021, from 0xFFFF): finds every change of up to 16 neighbouring bits, so
 * every single character. */
static uint16_t crc16(uint16_t crc, const unsigned char *bytes, size_t len)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                       0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                       0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};

    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc << 4 ^ table[crc >> 12 ^ bytes[i] >> 4]);
        crc = (uint16_t)(crc << 4 ^ table[crc >> 12 ^ (bytes[i] & 15)]);
    }
    return crc;
}

/* Of the counter and the tail. */
static uint16_t id_check(const unsigned char id[ID_BYTES])
{
    uint16_t crc = crc16(0xFFFF, id + ID_COUNTER, ID_CHECK - ID_COUNTER);

    return crc16(crc, id + ID_TAIL, ID_TAIL_BYTES);
}

static void put_u32(unsigned char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* What makes ids of this process unlike each other and those of other processes.  Process-wide like
 * the process id, seeded by the kernel at first use; ids are minted on the loop thread only. */
static struct {
    bool is_seeded;
    uint32_t counter;
    uint64_t seed;
} mint;

static uint32_t next_number(void)
{
    if (!mint.is_seeded) {
        random_bytes(&mint.counter, sizeof(mint.counter));
        random_bytes(&mint.seed, sizeof(mint.seed));
        mint.is_seeded = true;
    }
    return ++mint.counter;
}

static void finish_id(unsigned char id[ID_BYTES], char out[CONNECTION_ID_BYTES])
{
    uint16_t check;

    id[0] = ID_MAGIC;
    put_u32(id + ID_COUNTER, next_number());
    check = id_check(id);
    id[ID_CHECK] = (unsigned char)(check >> 8);
    id[ID_CHECK + 1] = (unsigned char)(check & 0xFF);
    base64url_encode(id, ID_BYTES, out);
}

void id_mint_connection(char out[CONNECTION_ID_BYTES])
{
    unsigned char id[ID_BYTES];

    random_bytes(id + ID_TAIL, ID_TAIL_BYTES);
    finish_id(id, out);
}

void id_mint_message(const char *connection_id, char out[CONNECTION_ID_BYTES])
{
    unsigned char connection[ID_BYTES];
    unsigned char id[ID_BYTES];

    if (decode_id(connection_id, connection))
        memcpy(id + ID_TAIL, connection + ID_TAIL, ID_TAIL_BYTES);
    else
        random_bytes(id + ID_TAIL, ID_TAIL_BYTES);
    finish_id(id, out);
}

/* splitmix64: a system call for every message would cost more than the rest of the id, and a
 * request id is no secret. */
static uint64_t scramble(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9U;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

void id_mint_request(char out[REQUEST_ID_BYTES])
{
    unsigned char id[REQUEST_BYTES];
    uint32_t number = next_number();
    uint64_t noise;

    mint.seed += 0x9e3779b97f4a7c15U;
    noise = scramble(mint.seed);
    put_u32(id, number);
    memcpy(id + 4, &noise, REQUEST_BYTES - 4);
    base64url_encode(id, REQUEST_BYTES, out);
}

bool id_is_wellformed(const char *id)
{
    unsigned char bytes[ID_BYTES];
    uint16_t check;

    if (!decode_id(id, bytes) || bytes[0] != ID_MAGIC)
        return false;
    check = id_check(bytes);
    return bytes[ID_CHECK] == check >> 8 && bytes[ID_CHECK + 1] == (check & 0xFF);
}

/* ---- maps of names to one or more values ---- */

/* Text with a NUL, inside the map's storage. */
struct pair {
    const char *name;
    const char *value;
    size_t order; /* as the client sent them */
};

struct map {
    struct pair *pairs;
    size_t count;
    char *storage; /* one block for all texts: pairs point into it */
    size_t used;
};

static void map_init(struct map *map, size_t pairs, size_t text_bytes)
{
    map->pairs = mem_alloc(pairs * sizeof(*map->pairs));
    map->count = 0;
    map->storage = mem_alloc(text_bytes + 2 * pairs);
    map->used = 0;
}

static void map_done(struct map *map)
{
    free(map->pairs);
    free(map->storage);
}

/* Takes a copy; the caller has asked map_init for enough. */
static const char *map_text(struct map *map, struct slice text)
{
    char *copy = map->storage + map->used;

    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    map->used += text.len + 1;
    return copy;
}

/* The same, decoded; as it was sent when it cannot be. */
static const char *map_decoded(struct map *map, struct slice text)
{
    char *copy = map->storage + map->used;
    long len = url_decode(text, true, copy);

    if (len < 0)
        return map_text(map, text);
    map->used += (size_t)len + 1;
    return copy;
}

static void map_add(struct map *map, const char *name, const char *value)
{
    map->pairs[map->count] = (struct pair){name, value, map->count};
    map->count++;
}

static int by_order(const struct pair *x, const struct pair *y)
{
    return x->order < y->order ? -1 : x->order > y->order;
}

static int by_name(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int difference = strcmp(x->name, y->name);

    return difference ? difference : by_order(x, y);
}

static int by_name_nocase(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int difference = strcasecmp(x->name, y->name);

    return difference ? difference : by_order(x, y);
}

typedef int compare_names(const char *a, const char *b);

/* Where the pairs with the name of the one at i end. */
static size_t group_end(const struct map *map, size_t i, compare_names *compare)
{
    size_t end = i + 1;

    while (end < map->count && compare(map->pairs[end].name, map->pairs[i].name) == 0)
        end++;
    return end;
}

/* "<key>":{name: last value}, of sorted pairs. */
static void write_single(struct buf *out, const struct map *map, const char *key,
                         compare_names *compare)
{
    json_open(out, key, '{');
    for (size_t i = 0; i < map->count;) {
        size_t end = group_end(map, i, compare);

        json_str(out, map->pairs[i].name, map->pairs[end - 1].value);
        i = end;
    }
    json_close(out, '}');
}

/* The same, and "<multi_key>":{name: [values]}. */
static void write_maps(struct buf *out, const struct map *map, const char *single_key,
                       const char *multi_key, compare_names *compare)
{
    write_single(out, map, single_key, compare);
    json_open(out, multi_key, '{');
    for (size_t i = 0; i < map->count;) {
        size_t end = group_end(map, i, compare);

        json_open(out, map->pairs[i].name, '[');
        for (; i < end; i++)
            json_str(out, NULL, map->pairs[i].value);
        json_close(out, ']');
    }
    json_close(out, '}');
}

/* ---- headers and query of a handshake ---- */

/* Set by us: what a client says there is not passed on. */
static bool is_replaced(struct slice name)
{
    return slice_is_nocase(name, "X-Forwarded-For") || slice_is_nocase(name, "X-Forwarded-Port") ||
           slice_is_nocase(name, "X-Forwarded-Proto") || slice_is_nocase(name, "X-Amzn-Trace-Id");
}

/* Authorizers see these, integrations do not. */
static bool is_hop_by_hop(struct slice name)
{
    return slice_is_nocase(name, "Connection") || slice_is_nocase(name, "Upgrade") ||
           slice_is_nocase(name, "Content-Length");
}

/* What proxies before us have put there, and then who connected to us. */
static void add_forwarded_for(struct buf *out, const struct http_head *head, const char *source_ip)
{
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];

        if (slice_is_nocase(header->name, "X-Forwarded-For") && header->value.len) {
            buf_add(out, header->value.data, header->value.len);
            buf_adds(out, ", ");
        }
    }
    buf_adds(out, source_ip);
}

void trace_id_mint(char out[TRACE_ID_BYTES], int64_t now_ms)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char noise[12];
    size_t n;

    random_bytes(noise, sizeof(noise));
    n = (size_t)snprintf(out, TRACE_ID_BYTES, "Root=1-%08" PRIx32 "-", (uint32_t)(now_ms / 1000));
    for (size_t i = 0; i < sizeof(noise); i++) {
        out[n++] = digits[noise[i] >> 4];
        out[n++] = digits[noise[i] & 15];
    }
    out[n] = '\0';
}

static size_t text_bytes(const struct http_head *head)
{
    size_t bytes = 0;

    for (size_t i = 0; i < head->header_count; i++)
        bytes += head->headers[i].name.len + head->headers[i].value.len;
    return bytes;
}

/* The headers as events have them, sorted; what they point to is in storage of this struct. */
struct event_headers {
    struct map map;
    struct buf forwarded;
    char trace_id[TRACE_ID_BYTES];
    char port[16];
};

/* A handshake has no body; API Gateway says so to authorizers. */
static void add_content_length(struct event_headers *headers, const struct http_head *head)
{
    if (http_head_count(head, "Content-Length") == 0)
        map_add(&headers->map, "content-length", "0");
}

static void gather_headers(struct event_headers *headers, const struct event_context *context,
                           const struct http_head *head, int server_port, bool is_whole)
{
    size_t bytes = text_bytes(head);
    struct map *map = &headers->map;

    buf_init(&headers->forwarded, bytes + 2 * head->header_count + strlen(context->source_ip));
    add_forwarded_for(&headers->forwarded, head, context->source_ip);
    snprintf(headers->port, sizeof(headers->port), "%d", server_port);
    if (!context->trace_id)
        trace_id_mint(headers->trace_id, context->connected_at_ms);
    map_init(map, head->header_count + 5, bytes);
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];

        if (!is_replaced(header->name) && (is_whole || !is_hop_by_hop(header->name))) {
            const char *name = map_text(map, header->name);

            map_add(map, name, map_text(map, header->value));
        }
    }
    if (is_whole)
        add_content_length(headers, head);
    map_add(map, "X-Amzn-Trace-Id", context->trace_id ? context->trace_id : headers->trace_id);
    map_add(map, "X-Forwarded-For", buf_str(&headers->forwarded));
    map_add(map, "X-Forwarded-Port", headers->port);
    map_add(map, "X-Forwarded-Proto", "http"); /* TLS ends in front of us */
    qsort(map->pairs, map->count, sizeof(*map->pairs), by_name_nocase);
}

static void free_headers(struct event_headers *headers)
{
    map_done(&headers->map);
    buf_done(&headers->forwarded);
}

static void write_headers(struct buf *out, const struct event_context *context,
                          const struct http_head *head, int server_port, bool is_whole)
{
    struct event_headers headers;

    gather_headers(&headers, context, head, server_port, is_whole);
    write_maps(out, &headers.map, "headers", "multiValueHeaders", strcasecmp);
    free_headers(&headers);
}

void event_write_headers(struct buf *out, const struct event_context *context,
                         const struct http_head *head, int server_port)
{
    struct event_headers headers;

    gather_headers(&headers, context, head, server_port, false);
    write_single(out, &headers.map, NULL, strcasecmp);
    free_headers(&headers);
}

void event_each_header(const struct event_context *context, const struct http_head *head,
                       int server_port, event_header_fn *fn, void *ctx)
{
    struct event_headers headers;
    const struct map *map = &headers.map;

    gather_headers(&headers, context, head, server_port, false);
    for (size_t i = 0; i < map->count; i = group_end(map, i, strcasecmp)) {
        const struct pair *last = &map->pairs[group_end(map, i, strcasecmp) - 1];

        fn(ctx, map->pairs[i].name, last->value);
    }
    free_headers(&headers);
}

/* Sorted; to be freed. */
static void gather_query(struct map *map, struct slice query)
{
    struct slice rest = query;
    struct slice name;
    struct slice value;
    size_t count = 0;

    while (query_next(&rest, &name, &value))
        count++;
    map_init(map, count ? count : 1, query.len);
    rest = query;
    while (query_next(&rest, &name, &value)) {
        const char *decoded = map_decoded(map, name);

        map_add(map, decoded, map_decoded(map, value));
    }
    qsort(map->pairs, map->count, sizeof(*map->pairs), by_name);
}

bool event_write_query(struct buf *out, struct slice query)
{
    struct map map;
    bool is_there;

    gather_query(&map, query);
    is_there = map.count > 0;
    if (is_there)
        write_single(out, &map, NULL, strcmp);
    map_done(&map);
    return is_there;
}

/* is_whole: with empty maps when there is no query. */
static void write_query(struct buf *out, struct slice query, bool is_whole)
{
    struct map map;

    gather_query(&map, query);
    if (map.count > 0 || is_whole)
        write_maps(out, &map, "queryStringParameters", "multiValueQueryStringParameters", strcmp);
    map_done(&map);
}

/* ---- events ---- */

/* Not by strftime, whose months speak the locale's language. */
void event_format_time(int64_t time_ms, char out[EVENT_TIME_BYTES])
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc;

    gmtime_r(&seconds, &utc);
    snprintf(out, EVENT_TIME_BYTES, "%02d/%s/%04d:%02d:%02d:%02d +0000", utc.tm_mday,
             months[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

static void write_request_time(struct buf *out, int64_t now_ms)
{
    char text[EVENT_TIME_BYTES];

    event_format_time(now_ms, text);
    json_str(out, "requestTime", text);
}

/* What differs between the three; NULL: the member is not there. */
struct event_kind {
    const char *type;
    const char *route_key;
    const char *message_id;
    const char *reason; /* not NULL: disconnectStatusCode is there too */
    int code;
};

/* integrationLatency is of this request only, so it is not in what the connection keeps. */
static void write_authorizer(struct buf *out, const struct event_context *context)
{
    size_t len = strlen(context->authorizer);

    if (context->authorizer_latency_ms == 0 || len < 2 || context->authorizer[len - 1] != '}') {
        json_raw(out, "authorizer", context->authorizer, len);
        return;
    }
    json_raw(out, "authorizer", context->authorizer, len - 1);
    json_int(out, "integrationLatency", context->authorizer_latency_ms - 1);
    json_close(out, '}');
}

static void write_stage_variables(struct buf *out, const struct event_context *context)
{
    if (context->stage_variables)
        json_raw(out, "stageVariables", context->stage_variables, strlen(context->stage_variables));
}

static void write_request_context(struct buf *out, const struct event_context *context,
                                  const struct event_kind *kind, const char *request_id,
                                  int64_t now_ms)
{
    json_open(out, "requestContext", '{');
    json_str(out, "routeKey", kind->route_key);
    if (kind->reason)
        json_int(out, "disconnectStatusCode", kind->code);
    if (context->authorizer)
        write_authorizer(out, context);
    if (kind->message_id)
        json_str(out, "messageId", kind->message_id);
    json_str(out, "eventType", kind->type);
    json_str(out, "extendedRequestId", request_id);
    write_request_time(out, now_ms);
    json_str(out, "messageDirection", "IN");
    if (kind->reason)
        json_str(out, "disconnectReason", kind->reason);
    json_str(out, "stage", context->stage);
    json_int(out, "connectedAt", context->connected_at_ms);
    json_int(out, "requestTimeEpoch", now_ms);
    json_open(out, "identity", '{');
    if (context->user_agent)
        json_str(out, "userAgent", context->user_agent);
    json_str(out, "sourceIp", context->source_ip);
    json_close(out, '}');
    json_str(out, "requestId", request_id);
    json_str(out, "domainName", context->domain_name);
    json_str(out, "connectionId", context->connection_id);
    json_str(out, "apiId", context->api_id);
    json_close(out, '}');
}

void event_write_connect(struct buf *out, const struct event_context *context,
                         const struct http_head *head, const char *request_id, int64_t now_ms,
                         int server_port)
{
    const struct event_kind kind = {.type = "CONNECT", .route_key = "$connect"};

    json_open(out, NULL, '{');
    write_headers(out, context, head, server_port, false);
    write_query(out, head->query, false);
    write_stage_variables(out, context);
    write_request_context(out, context, &kind, request_id, now_ms);
    json_bool(out, "isBase64Encoded", false);
    json_close(out, '}');
}

void event_write_authorizer(struct buf *out, const struct event_context *context,
                            const struct http_head *head, const char *method_arn,
                            const char *request_id, int server_port)
{
    const struct event_kind kind = {.type = "CONNECT", .route_key = "$connect"};
    const char *variables = context->stage_variables ? context->stage_variables : "{}";

    json_open(out, NULL, '{');
    json_str(out, "type", "REQUEST");
    json_str(out, "methodArn", method_arn);
    write_headers(out, context, head, server_port, true);
    write_query(out, head->query, true);
    json_raw(out, "stageVariables", variables, strlen(variables));
    write_request_context(out, context, &kind, request_id, context->connected_at_ms);
    json_close(out, '}');
}

void event_write_message(struct buf *out, const struct event_context *context,
                         const struct event_message *message, int64_t now_ms)
{
    const struct event_kind kind = {
        .type = "MESSAGE", .route_key = message->route_key, .message_id = message->message_id};

    json_open(out, NULL, '{');
    write_stage_variables(out, context);
    write_request_context(out, context, &kind, message->request_id, now_ms);
    json_strn(out, "body", message->body, message->body_len);
    json_bool(out, "isBase64Encoded", false);
    json_close(out, '}');
}

/* The headers that API Gateway has in a DISCONNECT event, empty ones included. */
static void write_disconnect_headers(struct buf *out, const char *domain_name)
{
    const struct pair pairs[] = {{"Host", domain_name, 0},
                                 {"x-api-key", "", 1},
                                 {"X-Forwarded-For", "", 2},
                                 {"x-restapi", "", 3}};

    json_open(out, "headers", '{');
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        json_str(out, pairs[i].name, pairs[i].value);
    json_close(out, '}');
    json_open(out, "multiValueHeaders", '{');
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        json_open(out, pairs[i].name, '[');
        json_str(out, NULL, pairs[i].value);
        json_close(out, ']');
    }
    json_close(out, '}');
}

void event_write_disconnect(struct buf *out, const struct event_context *context,
                            const char *request_id, int code, const char *reason, int64_t now_ms)
{
    const struct event_kind kind = {.type = "DISCONNECT",
                                    .route_key = "$disconnect",
                                    .reason = reason ? reason : "",
                                    .code = code};

    json_open(out, NULL, '{');
    write_disconnect_headers(out, context->domain_name);
    write_stage_variables(out, context);
    write_request_context(out, context, &kind, request_id, now_ms);
    json_bool(out, "isBase64Encoded", false);
    json_close(out, '}');
}

/* The blanks are API Gateway's: clients compare these frames as text. */
void event_write_error(struct buf *out, const char *message, const char *connection_id,
                       const char *request_id)
{
    buf_adds(out, "{\"message\": ");
    json_str(out, NULL, message);
    buf_adds(out, ", \"connectionId\":");
    json_str(out, NULL, connection_id);
    buf_adds(out, ", \"requestId\":");
    json_str(out, NULL, request_id);
    buf_addc(out, '}');
}

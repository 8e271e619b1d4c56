/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_event.c - the CONNECT event of any request head: JSON, with every header and query value,
 * the last one where only one is kept.
 */
#include "event.h"
#include "http_head.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

/* What the gateway sets itself or leaves out. */
static bool is_ours(struct slice name)
{
    static const char *const names[] = {"Connection",      "Upgrade",          "Content-Length",
                                        "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto",
                                        "X-Amzn-Trace-Id"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_is_nocase(name, names[i]))
            return true;
    return false;
}

/* The text member is what the writer makes of these bytes. */
static void require_text(const struct json *json, const char *bytes, size_t len)
{
    struct buf expected;
    struct buf actual;

    require(json && json_type(json) == JSON_STRING);
    buf_init(&expected, SIZE_MAX);
    buf_init(&actual, SIZE_MAX);
    json_strn(&expected, NULL, bytes, len);
    json_write(&actual, NULL, json);
    require(strcmp(buf_str(&expected), buf_str(&actual)) == 0);
    buf_done(&expected);
    buf_done(&actual);
}

/* The member in any case: the spelling of a repeated header is that of its first line. */
static const struct json *get_nocase(const struct json *object, const char *name)
{
    const struct json *member = json_first(object);

    while (member && !slice_is_nocase((struct slice){name, strlen(name)}, json_key(member)))
        member = json_next(member);
    return member;
}

static void check_header(const struct json *event, const struct http_head *head, size_t i)
{
    char *name = slice_dup(head->headers[i].name);
    const struct json *values = get_nocase(json_get(event, "multiValueHeaders"), name);
    const struct http_header *last = http_head_find(head, name);
    size_t before = 0;

    require_text(get_nocase(json_get(event, "headers"), name), last->value.data, last->value.len);
    require(values && json_len(values) == http_head_count(head, name));
    for (size_t j = 0; j < i; j++)
        before += slice_is_nocase(head->headers[j].name, name);
    require_text(json_at(values, before), head->headers[i].value.data, head->headers[i].value.len);
    free(name);
}

static void check_headers(const struct json *event, const struct http_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (!is_ours(head->headers[i].name))
            check_header(event, head, i);
    }
    require(!get_nocase(json_get(event, "headers"), "Connection"));
    require(!get_nocase(json_get(event, "headers"), "Upgrade"));
    require(json_len(json_get(event, "headers")) == json_len(json_get(event, "multiValueHeaders")));
}

/* As many values as the URL has, and the last of each name in the map of single ones. */
static void check_query(const struct json *event, const struct http_head *head)
{
    const struct json *single = json_get(event, "queryStringParameters");
    const struct json *multi = json_get(event, "multiValueQueryStringParameters");
    struct slice rest = head->query;
    struct slice name;
    struct slice value;
    size_t sent = 0;
    size_t written = 0;

    while (query_next(&rest, &name, &value))
        sent++;
    require((sent > 0) == (single != NULL) && (single != NULL) == (multi != NULL));
    if (!single)
        return;
    require(json_len(single) == json_len(multi));
    for (const struct json *s = json_first(single), *m = json_first(multi); s;
         s = json_next(s), m = json_next(m)) {
        const char *last = json_text(json_at(m, json_len(m) - 1));

        require(strcmp(json_key(s), json_key(m)) == 0);
        require(last && strcmp(json_text(s), last) == 0);
        written += json_len(m);
    }
    require(written == sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct event_context context = {.connection_id = "gbgEXa8pzQAYKEi_gA==",
                                          .stage = "dev",
                                          .domain_name = "example.test",
                                          .api_id = "local",
                                          .source_ip = "203.0.113.7"};
    struct json *event = NULL;
    struct http_head head;
    struct buf out;

    if (http_head_parse((const char *)data, size, &head, NULL))
        return 0;
    buf_init(&out, SIZE_MAX);
    event_write_connect(&out, &context, &head, "EOpjyEJvoAMEnBQ=", 1790295170355, 8080);
    require(json_parse(buf_str(&out), out.len, &event, NULL) == OK);
    check_headers(event, &head);
    check_query(event, &head);
    require(json_get(event, "body") == NULL);
    json_free(event);
    buf_done(&out);
    return 0;
}

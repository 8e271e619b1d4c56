/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_http_head.c - any bytes as the head of a request, and the CONNECT event made from it.
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

static void require_inside(struct slice s, const char *text, size_t size)
{
    /* "/" of an absolute target without a path is ours. */
    require((s.data >= text && s.data + s.len <= text + size) || slice_is(s, "/"));
    for (size_t i = 0; i < s.len; i++)
        require(s.data[i] != '\r' && s.data[i] != '\n' && s.data[i] != '\0');
}

static void check_event(const struct http_head *head)
{
    const struct event_context context = {.connection_id = "id",
                                          .stage = "dev",
                                          .domain_name = "example.test",
                                          .api_id = "local",
                                          .source_ip = "203.0.113.7"};
    struct json *event = NULL;
    struct buf out;

    buf_init(&out, SIZE_MAX);
    event_write_connect(&out, &context, head, "request", 1790295170355, 8080);
    require(json_parse(buf_str(&out), out.len, &event, NULL) == OK);
    require(json_get(event, "requestContext") != NULL);
    json_free(event);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct error err = {.text = ""};
    struct http_head head;
    enum status st = http_head_parse(text, size, &head, &err);

    if (st) {
        require(st == UNAVAILABLE || st == INVALID || st == LIMIT);
        require(err.text[0] != '\0' && err.status == st);
        return 0;
    }
    require(head.size <= size && memcmp(text + head.size - 4, "\r\n\r\n", 4) == 0);
    require(head.header_count <= HTTP_MAX_HEADERS);
    require_inside(head.method, text, head.size);
    require_inside(head.path, text, head.size);
    if (head.query.data)
        require_inside(head.query, text, head.size);
    for (size_t i = 0; i < head.header_count; i++) {
        require_inside(head.headers[i].name, text, head.size);
        require_inside(head.headers[i].value, text, head.size);
    }
    check_event(&head);
    /* With a byte less it is not complete, whatever stands behind. */
    require(http_head_parse(text, head.size - 1, &head, NULL) == UNAVAILABLE);
    return 0;
}

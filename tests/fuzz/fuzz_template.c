/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_template.c - any bytes as a template, and as the message that it renders.
 *
 * The input is the template, a line "====", and the message.
 */
#include "template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT_BYTES = 20000 };

static const char request[] = "GET /dev?q=a+b&x=%2F HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n\r\n";
static const char variables[] = "{\"phase\":\"initial\"}";

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static enum status render(const struct template *template, const char *body, size_t len,
                          struct buf *out)
{
    struct request_context context;
    struct http_head head;
    struct json *stage_variables = NULL;
    struct event_values values = {
        .context = &context, .head = &head, .body = body, .body_len = len};
    struct error err = {.text = ""};
    enum status st;

    request_context_init(&context);
    context.stage = "dev";
    context.connected_at_ms = 1790295166108;
    context.authorizer = "{\"principalId\":\"user-1\",\"n\":7}";
    require(http_head_parse(request, strlen(request), &head, NULL) == OK);
    require(json_parse(variables, strlen(variables), &stage_variables, NULL) == OK);
    values.stage_variables = stage_variables;
    st = template_render(template, &values, out, &err);
    require(st == OK || st == LIMIT || st == INVALID);
    require(st == OK ? !buf_full(out) : err.status == st && strncmp(err.text, "line ", 5) == 0);
    event_values_done(&values);
    json_free(stage_variables);
    return st;
}

/* Nothing is left in a template by rendering it. */
static void check_twice(const struct template *template, const char *body, size_t len)
{
    struct buf first;
    struct buf second;
    enum status st;

    buf_init(&first, OUTPUT_BYTES);
    buf_init(&second, OUTPUT_BYTES);
    st = render(template, body, len, &first);
    require(render(template, body, len, &second) == st);
    require(first.len == second.len &&
            (first.len == 0 || memcmp(first.data, second.data, first.len) == 0));
    buf_done(&first);
    buf_done(&second);
}

/* What has neither references nor directives is text. */
static void check_text(const struct template *template, const char *text, size_t len)
{
    struct buf out;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '$' || text[i] == '#' || text[i] == '\\')
            return;
    }
    buf_init(&out, len);
    require(render(template, "", 0, &out) == OK);
    require(out.len == len && (len == 0 || memcmp(out.data, text, len) == 0));
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char separator[] = "\n====\n";
    const char *text = (const char *)data;
    const char *end = size ? memmem(text, size, separator, strlen(separator)) : NULL;
    size_t len = end ? (size_t)(end - text) : size;
    const char *body = end ? end + strlen(separator) : "";
    size_t body_len = end ? size - len - strlen(separator) : 0;
    struct template *template = NULL;
    struct error err = {.text = ""};

    if (template_compile(text, len, &template, &err)) {
        require(err.status == INVALID && err.text[0] != '\0' && !template);
        return 0;
    }
    check_twice(template, body, body_len);
    check_text(template, text, len);
    template_free(template);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_authorizer.c - any bytes as an authorizer's answer: who is let in has a context of texts.
 *
 * The first byte says whether the call failed.  The same answer as our writer spells it has the
 * same verdict.
 */
#include "authorizer.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARN "arn:aws:execute-api:us-east-1:123456789012:abc1234567/prod/$connect"

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_context(const char *text)
{
    struct json *context = NULL;

    require(json_parse(text, strlen(text), &context, NULL) == OK);
    require(json_type(context) == JSON_OBJECT);
    for (const struct json *it = json_first(context); it; it = json_next(it)) {
        require(json_type(it) == JSON_STRING);
        require(json_get(context, json_key(it)) == it); /* each name once */
    }
    json_free(context);
}

static void check_copy(const char *text, size_t size, bool is_error,
                       const struct authorizer_decision *expected)
{
    struct authorizer_decision decision;
    struct json *json = NULL;
    struct buf copy;

    if (json_parse(text, size, &json, NULL) != OK)
        return;
    buf_init(&copy, 8192);
    json_write(&copy, NULL, json);
    if (!buf_full(&copy)) {
        authorizer_decide(buf_str(&copy), copy.len, is_error, ARN, &decision);
        require(decision.verdict == expected->verdict);
        require(!decision.context || strcmp(decision.context, expected->context) == 0);
        authorizer_decision_done(&decision);
    }
    buf_done(&copy);
    json_free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct authorizer_decision decision;
    const char *text = (const char *)data + 1;
    bool is_error;

    if (size == 0 || size > 8192)
        return 0;
    is_error = data[0] & 1;
    authorizer_decide(text, size - 1, is_error, ARN, &decision);
    require((decision.verdict == AUTHORIZER_ALLOW) == (decision.context != NULL));
    require(!decision.usage_identifier_key || decision.context);
    require(!is_error || decision.verdict == AUTHORIZER_UNAUTHORIZED ||
            decision.verdict == AUTHORIZER_ERROR);
    if (decision.context)
        check_context(decision.context);
    check_copy(text, size - 1, is_error, &decision);
    authorizer_decision_done(&decision);
    return 0;
}

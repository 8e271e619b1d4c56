/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authorizer.c - what a REQUEST authorizer decided.
 *
 * The policy is read as IAM reads one.  Of a statement's members Effect, Action or NotAction, and
 * Resource or NotResource are understood.  A Condition is not: an Allow with one allows nothing,
 * and a Deny with one denies.  Policy variables are plain text.
 */
#include "authorizer.h"

#include "json.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
    RESULT_BYTES = 8 * 1024,
    CONTEXT_BYTES = 16 * RESULT_BYTES /* of a result: numbers and quotes make it longer */
};

static const char invoke_action[] = "execute-api:Invoke";

/* ---- wildcards ---- */

static char fold(char c, bool ignore_case)
{
    return ignore_case ? (char)tolower((unsigned char)c) : c;
}

/* On a mismatch only the last '*' takes one character more: what stands in front of it has matched
 * as early as it can, and matching it later would leave no more text.  So the time is the product
 * of both lengths at most. */
static bool is_match(const char *pattern, const char *text, bool ignore_case)
{
    const char *star = NULL;
    const char *star_text = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            star_text = text;
        } else if (*pattern == '?' || fold(*pattern, ignore_case) == fold(*text, ignore_case)) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++star_text;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* ---- statements ---- */

/* A text, or an array of texts with one at least. */
static bool is_pattern_list(const struct json *json)
{
    if (json_type(json) == JSON_STRING)
        return true;
    if (json_type(json) != JSON_ARRAY || !json_first(json))
        return false;
    for (const struct json *it = json_first(json); it; it = json_next(it)) {
        if (json_type(it) != JSON_STRING)
            return false;
    }
    return true;
}

static bool is_any_match(const struct json *patterns, const char *text, bool ignore_case)
{
    if (json_text(patterns))
        return is_match(json_text(patterns), text, ignore_case);
    for (const struct json *it = json_first(patterns); it; it = json_next(it)) {
        if (is_match(json_text(it), text, ignore_case))
            return true;
    }
    return false;
}

/* Exactly one of the two members, of the right shape. */
static const struct json *get_patterns(const struct json *statement, const char *name,
                                       const char *not_name)
{
    const struct json *patterns = json_get(statement, name);
    const struct json *not_patterns = json_get(statement, not_name);

    if (!patterns == !not_patterns)
        return NULL;
    if (!patterns)
        patterns = not_patterns;
    return is_pattern_list(patterns) ? patterns : NULL;
}

struct policy {
    const char *method_arn;
    bool is_allowed;
    bool is_denied;
};

static bool has_condition(const struct json *statement)
{
    const struct json *condition = json_get(statement, "Condition");

    if (!condition || json_type(condition) == JSON_NULL)
        return false;
    return json_type(condition) != JSON_OBJECT || json_first(condition);
}

/* False when it has the wrong shape.  Names of actions are the same in any case, resources are not.
 */
static bool read_statement(const struct json *statement, struct policy *policy)
{
    const char *effect = json_text(json_get(statement, "Effect"));
    const struct json *actions = get_patterns(statement, "Action", "NotAction");
    const struct json *resources = get_patterns(statement, "Resource", "NotResource");
    bool is_allow = effect && strcmp(effect, "Allow") == 0;

    if (!actions || !resources || (!is_allow && (!effect || strcmp(effect, "Deny") != 0)))
        return false;
    if (is_any_match(actions, invoke_action, true) == !json_get(statement, "Action") ||
        is_any_match(resources, policy->method_arn, false) == !json_get(statement, "Resource"))
        return true;
    if (!is_allow)
        policy->is_denied = true;
    else if (!has_condition(statement))
        policy->is_allowed = true;
    return true;
}

static bool read_policy(const struct json *document, struct policy *policy)
{
    const struct json *statement = json_get(document, "Statement");

    if (!statement)
        return false;
    if (json_type(statement) == JSON_OBJECT)
        return read_statement(statement, policy);
    if (json_type(statement) != JSON_ARRAY)
        return false;
    for (const struct json *it = json_first(statement); it; it = json_next(it)) {
        if (!read_statement(it, policy))
            return false;
    }
    return true;
}

/* ---- context ---- */

static bool is_scalar(const struct json *json)
{
    return json_type(json) != JSON_OBJECT && json_type(json) != JSON_ARRAY;
}

/* A scalar as a text: 7 is "7", true is "true"; nothing for null. */
static void write_text(struct buf *out, const char *key, const struct json *value)
{
    struct buf text;

    if (json_type(value) == JSON_NULL)
        return;
    if (json_type(value) == JSON_STRING) {
        json_str(out, key, json_text(value));
        return;
    }
    buf_init(&text, SIZE_MAX);
    json_write(&text, NULL, value);
    json_strn(out, key, buf_str(&text), text.len);
    buf_done(&text);
}

/* The last of several members of that name counts, and what the authorizer says of the principal
 * counts for more than a member of that name. */
static bool is_hidden(const struct json *members, const struct json *member, bool has_principal)
{
    return json_get(members, json_key(member)) != member ||
           (has_principal && strcmp(json_key(member), "principalId") == 0);
}

static bool write_context(struct buf *out, const struct json *result)
{
    const struct json *principal = json_get(result, "principalId");
    const struct json *members = json_get(result, "context");
    bool has_principal = principal && json_type(principal) != JSON_NULL;

    if (principal && !is_scalar(principal))
        return false;
    json_open(out, NULL, '{');
    if (principal)
        write_text(out, "principalId", principal);
    if (members && json_type(members) != JSON_NULL) {
        if (json_type(members) != JSON_OBJECT)
            return false;
        for (const struct json *it = json_first(members); it; it = json_next(it)) {
            if (!is_scalar(it))
                return false;
            if (!is_hidden(members, it, has_principal))
                write_text(out, json_key(it), it);
        }
    }
    json_close(out, '}');
    return true;
}

/* ---- the decision ---- */

static enum authorizer_verdict verdict_of(const struct policy *policy)
{
    if (policy->is_denied)
        return AUTHORIZER_DENY;
    return policy->is_allowed ? AUTHORIZER_ALLOW : AUTHORIZER_NOT_ALLOWED;
}

static enum authorizer_verdict decide_result(const struct json *result, const char *method_arn,
                                             struct authorizer_decision *out)
{
    struct policy policy = {.method_arn = method_arn};
    const char *usage_key = NULL;
    enum authorizer_verdict verdict = AUTHORIZER_BROKEN;
    struct buf context;

    buf_init(&context, CONTEXT_BYTES);
    if (json_type(result) == JSON_OBJECT &&
        json_opt_str(result, "usageIdentifierKey", &usage_key, NULL) == OK &&
        write_context(&context, result) && read_policy(json_get(result, "policyDocument"), &policy))
        verdict = verdict_of(&policy);
    assert(!buf_full(&context));
    if (verdict == AUTHORIZER_ALLOW) {
        out->context = buf_take(&context);
        out->usage_identifier_key = mem_strdup(usage_key);
    }
    buf_done(&context);
    return verdict;
}

static enum authorizer_verdict decide_error(const struct json *error)
{
    const char *message = error ? json_text(json_get(error, "errorMessage")) : NULL;

    return message && strcmp(message, "Unauthorized") == 0 ? AUTHORIZER_UNAUTHORIZED
                                                           : AUTHORIZER_ERROR;
}

/* Emulators of Lambda do not all say that a function failed. */
static bool is_error_shape(const struct json *json)
{
    return json_text(json_get(json, "errorMessage")) && !json_get(json, "policyDocument") &&
           !json_get(json, "principalId");
}

void authorizer_decide(const char *text, size_t len, bool is_error, const char *method_arn,
                       struct authorizer_decision *out)
{
    struct json *json = NULL;
    bool is_json = json_parse(text, len, &json, NULL) == OK;

    *out = (struct authorizer_decision){.verdict = AUTHORIZER_BROKEN};
    if (is_error || (is_json && is_error_shape(json)))
        out->verdict = decide_error(json);
    else if (is_json && len <= RESULT_BYTES)
        out->verdict = decide_result(json, method_arn, out);
    json_free(json);
}

void authorizer_decision_done(struct authorizer_decision *decision)
{
    free(decision->context);
    free(decision->usage_identifier_key);
    decision->context = NULL;
    decision->usage_identifier_key = NULL;
}

/* ---- what the client gets ---- */

int authorizer_status(enum authorizer_verdict verdict)
{
    switch (verdict) {
    case AUTHORIZER_ALLOW:
        return 200;
    case AUTHORIZER_DENY:
    case AUTHORIZER_NOT_ALLOWED:
        return 403;
    case AUTHORIZER_UNAUTHORIZED:
        return 401;
    case AUTHORIZER_ERROR:
    case AUTHORIZER_BROKEN:
        return 500;
    }
    return 500;
}

const char *authorizer_message(enum authorizer_verdict verdict)
{
    switch (verdict) {
    case AUTHORIZER_DENY:
        return "User is not authorized to access this resource with an explicit deny in an "
               "identity-based policy";
    case AUTHORIZER_NOT_ALLOWED:
        return "User is not authorized to access this resource because no identity-based policy "
               "allows the execute-api:Invoke action";
    case AUTHORIZER_UNAUTHORIZED:
        return "Unauthorized";
    case AUTHORIZER_ERROR:
        return "Internal server error";
    case AUTHORIZER_ALLOW:
    case AUTHORIZER_BROKEN:
        return "";
    }
    return "";
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "authorizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RESULT_MOST = 8192 };

#define ARN "arn:aws:execute-api:us-east-1:123456789012:abc1234567/prod/$connect"
#define STATEMENT(effect, action, resource)                                                        \
    "{\"Action\":" action ",\"Effect\":\"" effect "\",\"Resource\":" resource "}"
#define INVOKE "\"execute-api:Invoke\""
#define THIS "\"" ARN "\""
#define POLICY(statements)                                                                         \
    "\"policyDocument\":{\"Version\":\"2012-10-17\",\"Statement\":" statements "}"
#define ALLOW POLICY("[" STATEMENT("Allow", INVOKE, THIS) "]")

static void decide(const char *text, bool is_error, struct authorizer_decision *out)
{
    authorizer_decide(text, strlen(text), is_error, ARN, out);
}

static void expect_verdict(const char *text, bool is_error, enum authorizer_verdict verdict)
{
    struct authorizer_decision decision;

    decide(text, is_error, &decision);
    if (decision.verdict != verdict)
        fail_msg("%s: verdict %d instead of %d", text, (int)decision.verdict, (int)verdict);
    if (verdict == AUTHORIZER_ALLOW)
        assert_non_null(decision.context);
    else
        assert_null(decision.context);
    authorizer_decision_done(&decision);
}

static void expect_context(const char *text, const char *context)
{
    struct authorizer_decision decision;

    decide(text, false, &decision);
    assert_int_equal(decision.verdict, AUTHORIZER_ALLOW);
    assert_string_equal(decision.context, context);
    assert_null(decision.usage_identifier_key);
    authorizer_decision_done(&decision);
}

static void test_context_values_become_texts(void **state)
{
    (void)state;
    expect_context(
        "{\"principalId\":\"u\"," ALLOW
        ",\"context\":{\"k\":\"v\",\"n\":7,\"f\":1.5,\"b\":true,\"c\":false,\"e\":\"\"}}",
        "{\"principalId\":\"u\",\"k\":\"v\",\"n\":\"7\",\"f\":\"1.5\",\"b\":\"true\","
        "\"c\":\"false\",\"e\":\"\"}");
    expect_context("{\"principalId\":\"u\"," ALLOW ",\"context\":{\"gone\":null,\"k\":\"\\\"\"}}",
                   "{\"principalId\":\"u\",\"k\":\"\\\"\"}");
    expect_context("{\"principalId\":\"u\"," ALLOW ",\"context\":null}", "{\"principalId\":\"u\"}");
    expect_context("{\"principalId\":\"u\"," ALLOW ",\"context\":{\"a\":1,\"a\":null,\"a\":2}}",
                   "{\"principalId\":\"u\",\"a\":\"2\"}");
    expect_context("{\"principalId\":\"u\"," ALLOW ",\"context\":{\"principalId\":\"other\"}}",
                   "{\"principalId\":\"u\"}");
}

static void test_principal_is_a_scalar_or_nothing(void **state)
{
    (void)state;
    expect_context("{" ALLOW "}", "{}");
    expect_context("{\"principalId\":null," ALLOW "}", "{}");
    expect_context("{\"principalId\":7," ALLOW "}", "{\"principalId\":\"7\"}");
    expect_context("{\"principalId\":true," ALLOW "}", "{\"principalId\":\"true\"}");
    expect_context("{\"principalId\":\"\"," ALLOW "}", "{\"principalId\":\"\"}");
    expect_verdict("{\"principalId\":{\"id\":\"u\"}," ALLOW "}", false, AUTHORIZER_BROKEN);
    expect_verdict("{\"principalId\":[\"u\"]," ALLOW "}", false, AUTHORIZER_BROKEN);
}

static void test_context_of_another_shape_is_broken(void **state)
{
    (void)state;
    expect_verdict("{" ALLOW ",\"context\":{\"a\":\"b\",\"m\":{}}}", false, AUTHORIZER_BROKEN);
    expect_verdict("{" ALLOW ",\"context\":{\"m\":[\"a\"]}}", false, AUTHORIZER_BROKEN);
    expect_verdict("{" ALLOW ",\"context\":\"text\"}", false, AUTHORIZER_BROKEN);
    expect_verdict("{" ALLOW ",\"context\":[\"a\"]}", false, AUTHORIZER_BROKEN);
    expect_verdict("{" ALLOW ",\"context\":7}", false, AUTHORIZER_BROKEN);
}

static void test_usage_identifier_key_is_taken(void **state)
{
    struct authorizer_decision decision;

    (void)state;
    decide("{" ALLOW ",\"usageIdentifierKey\":\"key-1\"}", false, &decision);
    assert_int_equal(decision.verdict, AUTHORIZER_ALLOW);
    assert_string_equal(decision.usage_identifier_key, "key-1");
    assert_string_equal(decision.context, "{}");
    authorizer_decision_done(&decision);
    assert_null(decision.usage_identifier_key);
    expect_verdict("{" ALLOW ",\"usageIdentifierKey\":null}", false, AUTHORIZER_ALLOW);
    expect_verdict("{" ALLOW ",\"usageIdentifierKey\":{}}", false, AUTHORIZER_BROKEN);
}

static void test_what_is_no_policy_is_broken(void **state)
{
    static const char *const wrong[] = {
        "",
        "null",
        "true",
        "\"Allow\"",
        "[]",
        "{}",
        "{" ALLOW,
        "{\"isAuthorized\":true}",
        "{\"isAuthorized\":true,\"context\":{}}",
        "{\"principalId\":\"u\"}",
        "{\"principalId\":\"u\",\"policyDocument\":null}",
        "{\"principalId\":\"u\",\"policyDocument\":\"{}\"}",
        "{\"principalId\":\"u\",\"policyDocument\":[]}",
        "{\"principalId\":\"u\",\"policyDocument\":{}}",
        "{" POLICY("null") "}",
        "{" POLICY("\"Allow\"") "}",
        "{" POLICY("[null]") "}",
        "{" POLICY("[[]]") "}",
        "{" POLICY("{\"Action\":\"*\",\"Resource\":\"*\"}") "}",
        "{" POLICY("{\"Effect\":\"Allow\",\"Resource\":\"*\"}") "}",
        "{" POLICY("{\"Effect\":\"Allow\",\"Action\":\"*\"}") "}",
        "{" POLICY(STATEMENT("allow", "\"*\"", "\"*\"")) "}",
        "{" POLICY(STATEMENT("", "\"*\"", "\"*\"")) "}",
        "{" POLICY(STATEMENT("Allow", "7", "\"*\"")) "}",
        "{" POLICY(STATEMENT("Allow", "[]", "\"*\"")) "}",
        "{" POLICY(STATEMENT("Allow", "[\"*\",7]", "\"*\"")) "}",
        "{" POLICY(STATEMENT("Allow", "\"*\"", "{}")) "}",
        "{" POLICY(STATEMENT("Allow", "\"*\"", "\"*\",\"NotResource\":\"x\"")) "}",
        "{" POLICY(STATEMENT("Allow", "\"*\",\"NotAction\":\"x\"", "\"*\"")) "}",
        /* A statement that allows does not make up for one that is none, before or behind it. */
        "{" POLICY("[" STATEMENT("Allow", "\"*\"", "\"*\"") ",{}]") "}",
        "{" POLICY("[{}," STATEMENT("Allow", "\"*\"", "\"*\"") "]") "}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        expect_verdict(wrong[i], false, AUTHORIZER_BROKEN);
}

static void expect_policy(const char *statements, enum authorizer_verdict verdict)
{
    char text[2048];

    snprintf(text, sizeof(text), "{\"principalId\":\"u\",\"policyDocument\":{\"Statement\":%s}}",
             statements);
    expect_verdict(text, false, verdict);
}

static void test_statement_may_stand_alone(void **state)
{
    (void)state;
    expect_policy(STATEMENT("Allow", INVOKE, THIS), AUTHORIZER_ALLOW);
    expect_policy("[" STATEMENT("Allow", INVOKE, THIS) "]", AUTHORIZER_ALLOW);
    expect_policy("[]", AUTHORIZER_NOT_ALLOWED);
}

static void test_deny_wins(void **state)
{
    (void)state;
    expect_policy(STATEMENT("Deny", INVOKE, THIS), AUTHORIZER_DENY);
    expect_policy("[" STATEMENT("Deny", INVOKE, THIS) "," STATEMENT("Allow", INVOKE, THIS) "]",
                  AUTHORIZER_DENY);
    expect_policy("[" STATEMENT("Allow", INVOKE, THIS) "," STATEMENT("Deny", "\"*\"", "\"*\"") "]",
                  AUTHORIZER_DENY);
    expect_policy("[" STATEMENT("Allow", INVOKE, THIS) "," STATEMENT("Deny", INVOKE, "\"x\"") "]",
                  AUTHORIZER_ALLOW);
}

#define BEFORE "\"arn:aws:execute-api:us-east-1:123456789012:"

static void test_resources_match_with_wildcards(void **state)
{
    (void)state;
    expect_policy(STATEMENT("Allow", INVOKE, "\"*\""), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "abc1234567/*\""), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "*/prod/$connect\""), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "abc?234567/p*d/$c?nnect*\""),
                  AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", INVOKE, "\"arn:aws:execute-api:*:*:*\""), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", INVOKE, "[\"x\"," THIS "]"), AUTHORIZER_ALLOW);
    /* As for REST APIs. */
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "abc1234567/prod/*/*\""),
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "abc1234567/PROD/$connect\""),
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "abc1234567/prod/$connect?\""),
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy(STATEMENT("Allow", INVOKE, BEFORE "abc1234567/prod/$connec\""),
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy(STATEMENT("Allow", INVOKE, "\"\""), AUTHORIZER_NOT_ALLOWED);
}

static void test_actions_match_in_any_case(void **state)
{
    (void)state;
    expect_policy(STATEMENT("Allow", "\"*\"", THIS), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", "\"execute-api:*\"", THIS), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", "\"Execute-API:inv*\"", THIS), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", "[\"s3:*\",\"execute-api:Invok?\"]", THIS), AUTHORIZER_ALLOW);
    expect_policy(STATEMENT("Allow", "\"execute-api:ManageConnections\"", THIS),
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy(STATEMENT("Deny", "\"s3:*\"", THIS), AUTHORIZER_NOT_ALLOWED);
}

static void test_not_action_and_not_resource_mean_all_others(void **state)
{
    (void)state;
    expect_policy("{\"Effect\":\"Allow\",\"NotAction\":\"s3:*\",\"Resource\":\"*\"}",
                  AUTHORIZER_ALLOW);
    expect_policy("{\"Effect\":\"Allow\",\"NotAction\":[\"s3:*\",\"execute-api:*\"],"
                  "\"Resource\":\"*\"}",
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy("{\"Effect\":\"Deny\",\"Action\":\"*\",\"NotResource\":\"*/dev/*\"}",
                  AUTHORIZER_DENY);
    expect_policy("{\"Effect\":\"Deny\",\"Action\":\"*\",\"NotResource\":\"*/prod/*\"}",
                  AUTHORIZER_NOT_ALLOWED);
}

/* Nobody here can say whether a condition holds. */
static void test_conditions_never_allow(void **state)
{
    (void)state;
    expect_policy("{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\","
                  "\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}}}",
                  AUTHORIZER_NOT_ALLOWED);
    expect_policy("[" STATEMENT("Allow", INVOKE,
                                THIS) ",{\"Effect\":\"Deny\",\"Action\":\"*\","
                                      "\"Resource\":\"*\",\"Condition\":{\"Bool\":{\"a\":\"b\"}}}]",
                  AUTHORIZER_DENY);
    expect_policy("{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{}}",
                  AUTHORIZER_ALLOW);
}

/* With a matcher that tries every way this would not end. */
static void test_nasty_patterns_take_no_time(void **state)
{
    char text[RESULT_MOST];
    char arn[4096];
    struct authorizer_decision decision;
    size_t len = (size_t)snprintf(text, sizeof(text),
                                  "{\"policyDocument\":{\"Statement\":{\"Effect\":\"Allow\","
                                  "\"Action\":\"*\",\"Resource\":\"");
    int64_t began_ms = clock_mono_ms();

    (void)state;
    for (int i = 0; i < 2000; i++, len += 2)
        memcpy(text + len, "*a", 2);
    snprintf(text + len, sizeof(text) - len, "*b\"}}}");
    memset(arn, 'a', sizeof(arn) - 1);
    arn[sizeof(arn) - 1] = '\0';
    authorizer_decide(text, strlen(text), false, arn, &decision);
    assert_int_equal(decision.verdict, AUTHORIZER_NOT_ALLOWED);
    arn[sizeof(arn) - 2] = 'b';
    authorizer_decide(text, strlen(text), false, arn, &decision);
    assert_int_equal(decision.verdict, AUTHORIZER_ALLOW);
    authorizer_decision_done(&decision);
    assert_true(clock_mono_ms() - began_ms < 5000);
}

static void test_result_has_a_limit(void **state)
{
    char *text = malloc(RESULT_MOST + 2);
    struct authorizer_decision decision;

    (void)state;
    memset(text, ' ', RESULT_MOST + 1);
    memcpy(text, "{" ALLOW "}", sizeof("{" ALLOW "}") - 1);
    authorizer_decide(text, RESULT_MOST, false, ARN, &decision);
    assert_int_equal(decision.verdict, AUTHORIZER_ALLOW);
    authorizer_decision_done(&decision);
    authorizer_decide(text, RESULT_MOST + 1, false, ARN, &decision);
    assert_int_equal(decision.verdict, AUTHORIZER_BROKEN);
    assert_null(decision.context);
    free(text);
}

static void test_function_that_raised_decides_too(void **state)
{
    const char *unauthorized = "{\"errorMessage\":\"Unauthorized\",\"errorType\":\"Error\"}";

    (void)state;
    expect_verdict(unauthorized, true, AUTHORIZER_UNAUTHORIZED);
    expect_verdict(unauthorized, false, AUTHORIZER_UNAUTHORIZED);
    expect_verdict("{\"errorMessage\":\"unauthorized\"}", true, AUTHORIZER_ERROR);
    expect_verdict("{\"errorMessage\":\"Unauthorized.\"}", true, AUTHORIZER_ERROR);
    expect_verdict("{\"errorMessage\":\"boom\"}", false, AUTHORIZER_ERROR);
    expect_verdict("{\"errorMessage\":7}", true, AUTHORIZER_ERROR);
    expect_verdict("{" ALLOW "}", true, AUTHORIZER_ERROR);
    expect_verdict("", true, AUTHORIZER_ERROR);
    expect_verdict("null", true, AUTHORIZER_ERROR);
    expect_verdict("{\"errorMessage\":\"Unauthorized\"," ALLOW "}", false, AUTHORIZER_ALLOW);
}

static void expect_refusal(enum authorizer_verdict verdict, int status, const char *message)
{
    assert_int_equal(authorizer_status(verdict), status);
    assert_string_equal(authorizer_message(verdict), message);
}

static void test_refusals_have_their_texts(void **state)
{
    (void)state;
    expect_refusal(AUTHORIZER_DENY, 403,
                   "User is not authorized to access this resource with an explicit deny in an "
                   "identity-based policy");
    expect_refusal(AUTHORIZER_NOT_ALLOWED, 403,
                   "User is not authorized to access this resource because no identity-based "
                   "policy allows the execute-api:Invoke action");
    expect_refusal(AUTHORIZER_UNAUTHORIZED, 401, "Unauthorized");
    expect_refusal(AUTHORIZER_ERROR, 500, "Internal server error");
    expect_refusal(AUTHORIZER_BROKEN, 500, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_values_become_texts),
        cmocka_unit_test(test_principal_is_a_scalar_or_nothing),
        cmocka_unit_test(test_context_of_another_shape_is_broken),
        cmocka_unit_test(test_usage_identifier_key_is_taken),
        cmocka_unit_test(test_what_is_no_policy_is_broken),
        cmocka_unit_test(test_statement_may_stand_alone),
        cmocka_unit_test(test_deny_wins),
        cmocka_unit_test(test_resources_match_with_wildcards),
        cmocka_unit_test(test_actions_match_in_any_case),
        cmocka_unit_test(test_not_action_and_not_resource_mean_all_others),
        cmocka_unit_test(test_conditions_never_allow),
        cmocka_unit_test(test_nasty_patterns_take_no_time),
        cmocka_unit_test(test_result_has_a_limit),
        cmocka_unit_test(test_function_that_raised_decides_too),
        cmocka_unit_test(test_refusals_have_their_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

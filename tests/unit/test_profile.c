/* SPDX-License-Identifier: Apache-2.0 */
#include "profile.h"

#include "base.h"
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum status parse(const char *text, struct profile_settings *settings, struct error *err)
{
    return profile_settings_parse(text, strlen(text), settings, err);
}

static void test_an_empty_object_means_the_defaults(void **state)
{
    struct profile_settings settings;

    (void)state;
    memset(&settings, 0xff, sizeof(settings));
    assert_int_equal(parse("{}", &settings, NULL), OK);
    assert_string_equal(settings.route_selection_expression, "$request.body.action");
    assert_int_equal(settings.connection_ttl_s, 7200);
    assert_false(settings.renew_ttl);
    assert_int_equal(settings.message_retention_days, 30);
    assert_int_equal(settings.auth, AUTH_OFF);
    assert_int_equal(settings.ping_interval_ms, 0);
    assert_string_equal(settings.rate_limit_connection, "");
    assert_string_equal(settings.rate_limit_stage, "");
}

static void test_every_member_is_taken(void **state)
{
    struct profile_settings settings;

    (void)state;
    assert_int_equal(parse("{\"route_selection_expression\":\"$request.body.type\","
                           "\"connection_ttl_seconds\":600,\"renew_ttl\":true,"
                           "\"message_retention_days\":7,\"auth\":\"required\","
                           "\"ping_interval_ms\":60000,\"rate_limit_connection\":\"10/s:20\","
                           "\"rate_limit_user\":\"20/s:40\",\"rate_limit_routes\":\"a=1/s:2\","
                           "\"rate_limit_stage\":\"100/s:500\",\"of_the_future\":[1]}",
                           &settings, NULL),
                     OK);
    assert_string_equal(settings.route_selection_expression, "$request.body.type");
    assert_int_equal(settings.connection_ttl_s, 600);
    assert_true(settings.renew_ttl);
    assert_int_equal(settings.message_retention_days, 7);
    assert_int_equal(settings.auth, AUTH_REQUIRED);
    assert_int_equal(settings.ping_interval_ms, 60000);
    assert_string_equal(settings.rate_limit_connection, "10/s:20");
    assert_string_equal(settings.rate_limit_user, "20/s:40");
    assert_string_equal(settings.rate_limit_routes, "a=1/s:2");
    assert_string_equal(settings.rate_limit_stage, "100/s:500");
}

static void test_a_wrong_member_is_named_and_nothing_is_changed(void **state)
{
    static const struct {
        const char *text;
        const char *name;
    } cases[] = {
        {"{\"auth\":\"maybe\"}", "auth"},
        {"{\"auth\":true}", "auth"},
        {"{\"renew_ttl\":\"yes\"}", "renew_ttl"},
        {"{\"connection_ttl_seconds\":0}", "connection_ttl_seconds"},
        {"{\"connection_ttl_seconds\":\"600\"}", "connection_ttl_seconds"},
        {"{\"message_retention_days\":-1}", "message_retention_days"},
        {"{\"ping_interval_ms\":-1}", "ping_interval_ms"},
        {"{\"rate_limit_user\":7}", "rate_limit_user"},
        {"[]", "object"},
        {"{", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct profile_settings settings = {.connection_ttl_s = 17};
        struct error err = {0};

        assert_int_equal(parse(cases[i].text, &settings, &err), INVALID);
        assert_non_null(strstr(err.text, cases[i].name));
        assert_int_equal(settings.connection_ttl_s, 17);
    }
}

static void test_a_text_that_does_not_fit_is_refused(void **state)
{
    struct profile_settings settings;
    char text[600];

    (void)state;
    snprintf(text, sizeof(text), "{\"rate_limit_user\":\"%064d\"}", 1);
    assert_int_equal(parse(text, &settings, NULL), INVALID);
    snprintf(text, sizeof(text), "{\"rate_limit_user\":\"%063d\"}", 1);
    assert_int_equal(parse(text, &settings, NULL), OK);
    snprintf(text, sizeof(text), "{\"route_selection_expression\":\"%0256d\"}", 1);
    assert_int_equal(parse(text, &settings, NULL), INVALID);
}

static void test_what_the_operator_set_wins(void **state)
{
    char *argv[] = {NULL};
    struct profile_settings settings;
    struct config config = {0};
    int argc = 0;

    (void)state;
    assert_int_equal(config_load(&config, &argc, argv, NULL), OK);
    profile_settings_init(&settings);
    settings.auth = AUTH_OPTIONAL;
    assert_int_equal(profile_settings_override(&settings, &config, NULL), OK);
    assert_int_equal(settings.auth, AUTH_OPTIONAL); /* "": the profile's */
    assert_string_equal(settings.route_selection_expression, "$request.body.action");
    free(config.auth);
    config.auth = mem_strdup("off");
    free(config.route_selection_expression);
    config.route_selection_expression = mem_strdup("$request.body.kind");
    config.connection_ttl_minutes = 3;
    config.message_retention_days = 5;
    assert_int_equal(profile_settings_override(&settings, &config, NULL), OK);
    assert_int_equal(settings.auth, AUTH_OFF);
    assert_string_equal(settings.route_selection_expression, "$request.body.kind");
    assert_int_equal(settings.connection_ttl_s, 180);
    assert_int_equal(settings.message_retention_days, 5);
    config_done(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_object_means_the_defaults),
        cmocka_unit_test(test_every_member_is_taken),
        cmocka_unit_test(test_a_wrong_member_is_named_and_nothing_is_changed),
        cmocka_unit_test(test_a_text_that_does_not_fit_is_refused),
        cmocka_unit_test(test_what_the_operator_set_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

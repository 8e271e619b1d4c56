/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config.c - settings from defaults, environment and flags.
 */
#include "config.h"

#include "buf.h"
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    (void)state;
    return clearenv();
}

/* Loads with up to 7 arguments, which end in NULL. */
static enum status load(struct config *config, struct error *err, const char *const *args)
{
    char *argv[8];
    char *kept[8];
    int argc = 0;
    int kept_count;
    enum status st;

    for (; args[argc]; argc++)
        kept[argc] = argv[argc] = mem_strdup(args[argc]);
    kept_count = argc;
    st = config_load(config, &kept_count, kept, err);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return st;
}

#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define NO_ARGS                                                                                    \
    (const char *const[])                                                                          \
    {                                                                                              \
        NULL                                                                                       \
    }

static void test_defaults_hold_when_nobody_says_anything(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(load(&config, &err, NO_ARGS), OK);
    assert_string_equal(config.listen_address, "127.0.0.1");
    assert_int_equal(config.port, 8080);
    assert_int_equal(config.admin_port, 8081);
    assert_string_equal(config.stage, "dev");
    assert_string_equal(config.profile, "careconnect");
    assert_string_equal(config.database_url, "");
    assert_string_equal(config.route_selection_expression, "");
    assert_int_equal(config.integration_timeout_ms, 29000);
    assert_int_equal(config.connection_ttl_minutes, 0);
    assert_int_equal(config.max_message_bytes, 1048576);
    assert_int_equal(config.max_frame_bytes, 1048576);
    assert_string_equal(config.aws_strict, "off");
    assert_string_equal(config.compression, "off");
    assert_int_equal(config.idle_timeout_ms, 600000);
    assert_int_equal(config.max_connection_ms, 7200000);
    assert_int_equal(config.cleanup_interval_s, 900);
    assert_int_equal(config.inactive_retention_days, 7);
    assert_string_equal(config.log_level, "info");
    assert_string_equal(config.log_format, "logfmt");
    assert_string_equal(config.auth, "");
    assert_string_equal(config.demo_tokens, "off");
    assert_string_equal(config.token_expiry_closes, "on");
    config_done(&config);
    assert_null(config.stage);
}

static void test_a_flag_has_its_value_behind_it_or_behind_an_equals_sign(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(load(&config, &err, ARGS("--port", "9000", "--admin-port=0", "--stage=prod=")),
                     INVALID);
    assert_int_equal(
        load(&config, &err, ARGS("--port", "9000", "--admin-port=0", "--jwt-issuer=a=b")), OK);
    assert_int_equal(config.port, 9000);
    assert_int_equal(config.admin_port, 0);
    assert_string_equal(config.jwt_issuer, "a=b");
    config_done(&config);
}

static void test_a_choice_whose_default_is_empty_can_be_made_empty_again(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(load(&config, &err, ARGS("--auth=required")), OK);
    assert_string_equal(config.auth, "required");
    config_done(&config);
    assert_int_equal(load(&config, &err, ARGS("--auth=required", "--auth=")), OK);
    assert_string_equal(config.auth, "");
    config_done(&config);
}

static void test_with_aws_strict_the_defaults_are_those_of_api_gateway(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(load(&config, &err, ARGS("--aws-strict")), OK);
    assert_int_equal(config.max_message_bytes, 131072);
    assert_int_equal(config.max_frame_bytes, 32768);
    assert_int_equal(config.max_url_bytes, 4096);
    assert_int_equal(config.max_head_bytes, 10240);
    assert_int_equal(config.output_frame_bytes, 512);
    assert_int_equal(config.integration_timeout_ms, 29000);
    assert_int_equal(config.idle_timeout_ms, 600000);
    assert_int_equal(config.max_connection_ms, 7200000);
    assert_int_equal(config.ping_interval_ms, 0);
    assert_string_equal(config.rate_limit_account, "10000/s:5000");
    assert_string_equal(config.rate_limit_connects, "500/s:500");
    assert_string_equal(config.compression, "off");
    assert_int_equal(config.port, 8080); /* of which AWS knows nothing */
    config_done(&config);
}

static void test_what_is_given_wins_over_aws_strict_from_wherever_it_comes(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    setenv("SWITCHBOARD_AWS_STRICT", "on", 1);
    setenv("SWITCHBOARD_MAX_FRAME_BYTES", "1048576", 1); /* the ordinary default, but given */
    assert_int_equal(load(&config, &err, ARGS("--rate-limit-connects=off")), OK);
    assert_int_equal(config.max_frame_bytes, 1048576);
    assert_int_equal(config.max_message_bytes, 131072);
    assert_string_equal(config.rate_limit_connects, "off");
    config_done(&config);
    assert_int_equal(load(&config, &err, ARGS("--aws-strict=off")), OK);
    assert_int_equal(config.max_message_bytes, 1048576);
    config_done(&config);
}

static void test_compression_and_aws_strict_exclude_each_other(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(load(&config, &err, ARGS("--compression", "--aws-strict")), INVALID);
    assert_string_equal(err.text, "compression is not for aws_strict");
    assert_int_equal(load(&config, &err, ARGS("--compression")), OK);
    config_done(&config);
}

static void test_the_flag_of_a_switch_may_stand_alone(void **state)
{
    char serve[] = "serve", demo[] = "--demo-tokens", off[] = "off", file[] = "file",
         expiry[] = "--token-expiry-closes", last[] = "--compression", on[] = "on";
    char *argv[] = {serve, demo, off, expiry, file, last, on};
    int argc = 7;
    struct config config;
    struct error err;

    (void)state;
    setenv("SWITCHBOARD_TOKEN_EXPIRY_CLOSES", "off", 1);
    assert_int_equal(config_load(&config, &argc, argv, &err), OK);
    assert_int_equal(argc, 2);
    assert_string_equal(argv[0], "serve");
    assert_string_equal(argv[1], "file");
    assert_string_equal(config.demo_tokens, "off");
    assert_string_equal(config.token_expiry_closes, "on");
    assert_string_equal(config.compression, "on");
    config_done(&config);
}

static void test_what_is_not_a_flag_moves_to_the_front_in_order(void **state)
{
    char serve[] = "switchboard", port[] = "--port=1", send[] = "send", dashes[] = "--",
         id[] = "--id", stage[] = "--stage", value[] = "x", minus[] = "-";
    char *argv[] = {serve, port, send, stage, value, minus, dashes, id};
    int argc = 8;
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(config_load(&config, &argc, argv, &err), OK);
    assert_int_equal(argc, 4);
    assert_string_equal(argv[0], "switchboard");
    assert_string_equal(argv[1], "send");
    assert_string_equal(argv[2], "-");
    assert_string_equal(argv[3], "--id");
    assert_string_equal(config.stage, "x");
    config_done(&config);
}

static void test_the_environment_counts_and_flags_count_more(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    setenv("SWITCHBOARD_PORT", "7000", 1);
    setenv("SWITCHBOARD_STAGE", "env", 1);
    setenv("SWITCHBOARD_PROFILE", "", 1); /* empty is not set */
    assert_int_equal(load(&config, &err, ARGS("--stage", "flag")), OK);
    assert_int_equal(config.port, 7000);
    assert_string_equal(config.stage, "flag");
    assert_string_equal(config.profile, "careconnect");
    config_done(&config);
}

static void test_the_names_of_others_count_less_than_ours(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    setenv("DATABASE_URL", "postgresql://alias", 1);
    setenv("WEBSOCKET_API_ENDPOINT", "https://second", 1);
    assert_int_equal(load(&config, &err, NO_ARGS), OK);
    assert_string_equal(config.database_url, "postgresql://alias");
    assert_string_equal(config.public_endpoint, "https://second");
    config_done(&config);
    setenv("AWS_WEBSOCKET_API_GATEWAY_ENDPOINT", "https://first", 1);
    setenv("SWITCHBOARD_DATABASE_URL", "postgresql://ours", 1);
    assert_int_equal(load(&config, &err, NO_ARGS), OK);
    assert_string_equal(config.database_url, "postgresql://ours");
    assert_string_equal(config.public_endpoint, "https://first");
    config_done(&config);
}

static void test_a_wrong_value_is_refused_with_source_and_what_is_allowed(void **state)
{
    static const struct {
        const char *flag;
        const char *text;
    } cases[] = {
        {"--port=65536", "--port: \"65536\" is not an integer from 0 to 65535"},
        {"--port=-1", "--port: \"-1\" is not an integer from 0 to 65535"},
        {"--port=", "--port: \"\" is not an integer from 0 to 65535"},
        {"--port=80a", "--port: \"80a\" is not an integer from 0 to 65535"},
        {"--port= 80", "--port: \" 80\" is not an integer from 0 to 65535"},
        {"--port=+80", "--port: \"+80\" is not an integer from 0 to 65535"},
        {"--port=0x50", "--port: \"0x50\" is not an integer from 0 to 65535"},
        {"--port=99999999999999999999",
         "--port: \"99999999999999999999\" is not an integer from 0 to 65535"},
        {"--integration-timeout-ms=49",
         "--integration-timeout-ms: \"49\" is not an integer from 50 to 29000"},
        {"--integration-timeout-ms=29001",
         "--integration-timeout-ms: \"29001\" is not an integer from 50 to 29000"},
        {"--log-level=loud", "--log-level: \"loud\" is none of: debug info warn error"},
        {"--auth=maybe", "--auth: \"maybe\" is none of: off optional required"},
        {"--demo-tokens=", "--demo-tokens: \"\" is none of: on off"},
        {"--log-level=info warn", "--log-level: \"info warn\" is none of: debug info warn error"},
        {"--log-format=", "--log-format: \"\" is none of: logfmt json"},
        {"--stage=a/b",
         "--stage: \"a/b\" is not 1 to 128 letters, digits, hyphens and underscores"},
        {"--stage=", "--stage: \"\" is not 1 to 128 letters, digits, hyphens and underscores"},
        {"--prot=1", "unknown flag --prot"},
        {"--max_frame_bytes=1", "unknown flag --max_frame_bytes"},
        {"--port", "--port needs a value"},
    };
    struct config config;
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(load(&config, &err, ARGS("serve", cases[i].flag)), INVALID);
        assert_string_equal(err.text, cases[i].text);
    }
    setenv("SWITCHBOARD_MAX_FRAME_BYTES", "none", 1);
    assert_int_equal(load(&config, &err, NO_ARGS), INVALID);
    assert_string_equal(
        err.text, "SWITCHBOARD_MAX_FRAME_BYTES: \"none\" is not an integer from 1 to 67108864");
    assert_int_equal(load(&config, NULL, NO_ARGS), INVALID);
}

static void test_the_ends_of_a_range_are_allowed(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    assert_int_equal(
        load(&config, &err, ARGS("--port=65535", "--admin-port=0", "--integration-timeout-ms=50")),
        OK);
    assert_int_equal(config.port, 65535);
    assert_int_equal(config.integration_timeout_ms, 50);
    config_done(&config);
    assert_int_equal(load(&config, &err, ARGS("--integration-timeout-ms=29000")), OK);
    config_done(&config);
}

static void test_a_secret_is_never_printed(void **state)
{
    struct config config;
    struct error err;

    (void)state;
    setenv("DATABASE_URL", "postgresql://u:hunter2@h/db", 1);
    assert_int_equal(load(&config, &err, ARGS("--jwt-secret=hunter2")), OK);
    for (enum config_output output = CONFIG_TEXT; output <= CONFIG_HELP; output++) {
        struct buf out;

        buf_init(&out, 100000);
        config_print(&config, output, &out);
        assert_null(strstr(buf_str(&out), "hunter2"));
        if (output == CONFIG_TEXT || output == CONFIG_JSON)
            assert_non_null(strstr(buf_str(&out), "****"));
        buf_done(&out);
    }
    config_done(&config);
    assert_int_equal(load(&config, &err, ARGS("--jwt-sceret=hunter2")), INVALID);
    assert_null(strstr(err.text, "hunter2"));
}

static void test_an_unset_secret_is_shown_as_empty(void **state)
{
    struct config config;
    struct error err;
    struct buf out;

    (void)state;
    assert_int_equal(load(&config, &err, NO_ARGS), OK);
    buf_init(&out, 100000);
    config_print(&config, CONFIG_TEXT, &out);
    assert_null(strstr(buf_str(&out), "****"));
    assert_non_null(strstr(buf_str(&out), "port                         8080\n"));
    buf_done(&out);
    config_done(&config);
}

static void test_the_json_form_has_every_setting_by_name(void **state)
{
    struct config config;
    struct error err;
    struct json *json;
    const char *stage;
    int64_t port;
    struct buf out;

    (void)state;
    assert_int_equal(load(&config, &err, ARGS("--port=81", "--stage=s")), OK);
    buf_init(&out, 100000);
    config_print(&config, CONFIG_JSON, &out);
    assert_int_equal(json_parse(buf_str(&out), out.len, &json, &err), OK);
    assert_int_equal(json_get_int(json, "port", &port, &err), OK);
    assert_int_equal(port, 81);
    assert_int_equal(json_get_str(json, "stage", &stage, &err), OK);
    assert_string_equal(stage, "s");
    /* One for each member of the struct: every one is eight bytes. */
    assert_int_equal(json_len(json), sizeof(struct config) / 8);
    json_free(json);
    buf_done(&out);
    config_done(&config);
}

static void test_the_markdown_table_has_flag_variables_default_and_range(void **state)
{
    struct config config;
    struct error err;
    struct buf out;

    (void)state;
    assert_int_equal(load(&config, &err, ARGS("--port=81")), OK);
    buf_init(&out, 100000);
    config_print(&config, CONFIG_MARKDOWN, &out);
    assert_non_null(
        strstr(buf_str(&out), "| `--port` | `SWITCHBOARD_PORT` | `8080` | | 0 to 65535 | port "));
    assert_non_null(
        strstr(buf_str(&out), "| `1048576` | `131072` | 1 to 67108864 | size of a mess"));
    assert_non_null(
        strstr(buf_str(&out), "`SWITCHBOARD_RATE_LIMIT_CONNECTS` | | `500/s:500` | | "));
    assert_non_null(strstr(buf_str(&out), "| `--database-url` | `SWITCHBOARD_DATABASE_URL`, "
                                          "`DATABASE_URL` | | | | PostgreSQL"));
    assert_non_null(strstr(buf_str(&out), "| `info` | | debug, info, warn or error | "));
    buf_done(&out);
    config_done(&config);
}

static void test_help_names_every_flag_once_with_its_default(void **state)
{
    struct config config;
    struct error err;
    struct buf out;
    const char *first;

    (void)state;
    assert_int_equal(load(&config, &err, NO_ARGS), OK);
    buf_init(&out, 100000);
    config_print(&config, CONFIG_HELP, &out);
    first = strstr(buf_str(&out), "--port ");
    assert_non_null(first);
    assert_null(strstr(first + 1, "--port "));
    assert_non_null(strstr(buf_str(&out), "(0 to 65535; default 8080)"));
    assert_non_null(strstr(buf_str(&out), "(default careconnect)"));
    buf_done(&out);
    config_done(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults_hold_when_nobody_says_anything, setup),
        cmocka_unit_test_setup(test_a_flag_has_its_value_behind_it_or_behind_an_equals_sign, setup),
        cmocka_unit_test_setup(test_a_choice_whose_default_is_empty_can_be_made_empty_again, setup),
        cmocka_unit_test_setup(test_with_aws_strict_the_defaults_are_those_of_api_gateway, setup),
        cmocka_unit_test_setup(test_what_is_given_wins_over_aws_strict_from_wherever_it_comes,
                               setup),
        cmocka_unit_test_setup(test_compression_and_aws_strict_exclude_each_other, setup),
        cmocka_unit_test_setup(test_the_flag_of_a_switch_may_stand_alone, setup),
        cmocka_unit_test_setup(test_what_is_not_a_flag_moves_to_the_front_in_order, setup),
        cmocka_unit_test_setup(test_the_environment_counts_and_flags_count_more, setup),
        cmocka_unit_test_setup(test_the_names_of_others_count_less_than_ours, setup),
        cmocka_unit_test_setup(test_a_wrong_value_is_refused_with_source_and_what_is_allowed,
                               setup),
        cmocka_unit_test_setup(test_the_ends_of_a_range_are_allowed, setup),
        cmocka_unit_test_setup(test_a_secret_is_never_printed, setup),
        cmocka_unit_test_setup(test_an_unset_secret_is_shown_as_empty, setup),
        cmocka_unit_test_setup(test_the_json_form_has_every_setting_by_name, setup),
        cmocka_unit_test_setup(test_the_markdown_table_has_flag_variables_default_and_range, setup),
        cmocka_unit_test_setup(test_help_names_every_flag_once_with_its_default, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "profile.h"

#include <inttypes.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "json.h"
#include "pgarray.h"

enum { DAYS_MOST = 36500, DAY_S = 86400, DAY_MS = 86400000 };

bool auth_mode_parse(const char *text, enum auth_mode *out)
{
    static const char *const names[] = {
        [AUTH_OFF] = "off", [AUTH_OPTIONAL] = "optional", [AUTH_REQUIRED] = "required"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum auth_mode)i;
            return true;
        }
    return false;
}

void profile_settings_init(struct profile_settings *settings)
{
    *settings = (struct profile_settings){
        .route_selection_expression = "$request.body.action",
        .connection_ttl_s = 7200,
        .message_retention_days = 30,
        .auth = AUTH_OFF,
    };
}

/* ---- members ---- */

static enum status take_text(const struct json *object, const char *key, char *out, size_t size,
                             struct error *err)
{
    const char *text = NULL;
    enum status st = json_opt_str(object, key, &text, err);

    if (st != OK || !text)
        return st;
    if (strlen(text) >= size)
        return fail(err, INVALID, "\"%s\" is longer than %zu bytes", key, size - 1);
    memcpy(out, text, strlen(text) + 1);
    return OK;
}

static enum status take_integer(const struct json *object, const char *key, int64_t min,
                                int64_t max, int64_t *out, struct error *err)
{
    int64_t n = *out;
    enum status st = json_opt_int(object, key, &n, err);

    if (st != OK)
        return st;
    if (n != *out && (n < min || n > max))
        return fail(err, INVALID, "\"%s\" is not from %" PRId64 " to %" PRId64, key, min, max);
    *out = n;
    return OK;
}

static enum status take_bool(const struct json *object, const char *key, bool *out,
                             struct error *err)
{
    const struct json *value = json_get(object, key);

    if (!value || json_type(value) == JSON_NULL)
        return OK;
    if (json_type(value) != JSON_BOOL)
        return fail(err, INVALID, "\"%s\" is neither true nor false", key);
    *out = json_is_true(value);
    return OK;
}

static enum status take_auth(const struct json *object, enum auth_mode *out, struct error *err)
{
    const char *text = NULL;
    enum status st = json_opt_str(object, "auth", &text, err);

    if (st != OK || !text)
        return st;
    if (!auth_mode_parse(text, out))
        return fail(err, INVALID, "\"auth\" is none of off, optional and required");
    return OK;
}

static enum status take_rates(const struct json *object, struct profile_settings *settings,
                              struct error *err)
{
    const struct {
        const char *key;
        char *out;
        size_t size;
    } rates[] = {
        {"rate_limit_connection", settings->rate_limit_connection, PROFILE_RATE_BYTES},
        {"rate_limit_user", settings->rate_limit_user, PROFILE_RATE_BYTES},
        {"rate_limit_routes", settings->rate_limit_routes, PROFILE_RATES_BYTES},
        {"rate_limit_stage", settings->rate_limit_stage, PROFILE_RATE_BYTES},
    };
    enum status st = OK;

    for (size_t i = 0; st == OK && i < ARRAY_LEN(rates); i++)
        st = take_text(object, rates[i].key, rates[i].out, rates[i].size, err);
    return st;
}

/* ["app", "chat"], which the database writes. */
static enum status take_schemas(const struct json *object, char *out, size_t size,
                                struct error *err)
{
    const struct json *schemas = json_get(object, "shared_schemas");
    struct buf list;
    bool fits;

    if (!schemas || json_type(schemas) == JSON_NULL)
        return OK;
    if (json_type(schemas) != JSON_ARRAY)
        return fail(err, INVALID, "\"shared_schemas\" is not an array");
    buf_init(&list, size - 1);
    pgarray_begin(&list);
    for (const struct json *name = json_first(schemas); name; name = json_next(name))
        if (json_type(name) == JSON_STRING)
            pgarray_add(&list, json_text(name));
    pgarray_end(&list);
    fits = !buf_full(&list);
    if (fits)
        memcpy(out, buf_str(&list), list.len + 1);
    buf_done(&list);
    return fits ? OK : fail(err, INVALID, "\"shared_schemas\" is longer than %zu bytes", size - 1);
}

static enum status take_all(const struct json *object, struct profile_settings *settings,
                            struct error *err)
{
    enum status st = take_text(object, "route_selection_expression",
                               settings->route_selection_expression, PROFILE_EXPRESSION_BYTES, err);

    if (st == OK)
        st = take_integer(object, "connection_ttl_seconds", 1, (int64_t)DAYS_MOST * DAY_S,
                          &settings->connection_ttl_s, err);
    if (st == OK)
        st = take_bool(object, "renew_ttl", &settings->renew_ttl, err);
    if (st == OK)
        st = take_integer(object, "message_retention_days", 1, DAYS_MOST,
                          &settings->message_retention_days, err);
    if (st == OK)
        st = take_auth(object, &settings->auth, err);
    if (st == OK)
        st = take_integer(object, "ping_interval_ms", 0, DAY_MS, &settings->ping_interval_ms, err);
    if (st == OK)
        st = take_schemas(object, settings->shared_schemas, PROFILE_SCHEMAS_BYTES, err);
    return st == OK ? take_rates(object, settings, err) : st;
}

enum status profile_settings_parse(const char *text, size_t len, struct profile_settings *out,
                                   struct error *err)
{
    struct profile_settings settings;
    struct json *json = NULL;
    enum status st = json_parse(text, len, &json, err);

    if (st != OK)
        return st;
    profile_settings_init(&settings);
    if (json_type(json) == JSON_OBJECT)
        st = take_all(json, &settings, err);
    else
        st = fail(err, INVALID, "not an object");
    json_free(json);
    if (st == OK)
        *out = settings;
    return st;
}

/* ---- the operator's ---- */

static enum status override_rates(struct profile_settings *settings, const struct config *config,
                                  struct error *err)
{
    const struct {
        const char *name;
        const char *given;
        char *out;
        size_t size;
    } rates[] = {
        {"rate_limit_connection", config->rate_limit_connection, settings->rate_limit_connection,
         PROFILE_RATE_BYTES},
        {"rate_limit_user", config->rate_limit_user, settings->rate_limit_user, PROFILE_RATE_BYTES},
        {"rate_limit_routes", config->rate_limit_routes, settings->rate_limit_routes,
         PROFILE_RATES_BYTES},
        {"rate_limit_stage", config->rate_limit_stage, settings->rate_limit_stage,
         PROFILE_RATE_BYTES},
    };

    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        size_t len = strlen(rates[i].given);

        if (len >= rates[i].size)
            return fail(err, INVALID, "%s is longer than %zu bytes", rates[i].name,
                        rates[i].size - 1);
        if (len > 0)
            memcpy(rates[i].out, rates[i].given, len + 1);
    }
    return OK;
}

enum status profile_settings_override(struct profile_settings *settings,
                                      const struct config *config, struct error *err)
{
    const char *expression = config->route_selection_expression;
    size_t len = strlen(expression);

    if (len >= PROFILE_EXPRESSION_BYTES)
        return fail(err, INVALID, "route_selection_expression is longer than %d bytes",
                    PROFILE_EXPRESSION_BYTES - 1);
    if (len > 0)
        memcpy(settings->route_selection_expression, expression, len + 1);
    if (config->connection_ttl_minutes > 0)
        settings->connection_ttl_s = config->connection_ttl_minutes * 60;
    if (config->message_retention_days > 0)
        settings->message_retention_days = config->message_retention_days;
    if (*config->auth && !auth_mode_parse(config->auth, &settings->auth))
        return fail(err, INVALID, "auth is none of off, optional and required");
    if (config->ping_interval_ms > 0 || config_is_on(config->aws_strict))
        settings->ping_interval_ms = config->ping_interval_ms;
    return override_rates(settings, config, err);
}

enum status profile_settings_read(struct profile_settings *settings, const char *text,
                                  const struct config *config, struct error *err)
{
    struct profile_settings read;
    enum status st = profile_settings_parse(text, strlen(text), &read, err);

    if (st == OK)
        st = profile_settings_override(&read, config, err);
    if (st == OK)
        *settings = read;
    return st;
}

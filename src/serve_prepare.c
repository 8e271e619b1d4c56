/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_prepare.c - what has to be right before `switchboard serve` opens anything: the limits of
 * the process, the API description, files, keys, logs.
 */
#include "serve_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access_log.h"
#include "api.h"
#include "auth.h"
#include "cloudwatch.h"
#include "database_auth.h"
#include "http_client.h"
#include "log.h"

/* Every connection is a descriptor; the soft limit is usually far below what is allowed. */
void serve_raise_descriptor_limit(const struct config *config)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && (int64_t)limit.rlim_cur < config->max_connections)
        log_info("serve.descriptor_limit", "limit=%llu max_connections=%lld",
                 (unsigned long long)limit.rlim_cur, (long long)config->max_connections);
}

static bool is_loopback_name(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

/* Behind a proxy on this machine everybody comes from this machine. */
static void warn_of_development(const struct config *config)
{
    if (strcmp(config->development, "on") == 0 && !*config->management_access_key_id &&
        !is_loopback_name(config->listen_address))
        log_warn(
            "serve.development", "address=%s warning=%s", log_quote(config->listen_address),
            log_quote("DEVELOPMENT IS ON: WHOEVER IS ON THIS MACHINE, OR COMES THROUGH A PROXY "
                      "ON IT, MAY SEND TO AND CLOSE EVERY CONNECTION. Never use this in "
                      "production (development)"));
}

/* Whoever reads it has to see that this is no production server. */
static void warn_of_demo_tokens(const struct config *config)
{
    if (config_is_on(config->demo_tokens))
        log_warn("serve.demo_tokens", "warning=%s",
                 log_quote("DEMO TOKENS ARE ON: EVERY TOKEN THAT BEGINS WITH valid_ IS ACCEPTED "
                           "WITHOUT A CHECK. Never use this in production (demo_tokens)"));
}

bool serve_uses_database(const struct app *app)
{
    return !app->api || api_uses_sql(app->api);
}

static bool uses_http_client(const struct app *app)
{
    return app->api || auth_uses_http(&app->config) || database_auth_uses_http(&app->config);
}

static enum status check_files(const struct config *config, struct error *err)
{
    if (!*config->tls_ca_file || access(config->tls_ca_file, R_OK) == 0)
        return OK;
    return fail(err, INVALID, "cannot read tls_ca_file \"%s\": %s", config->tls_ca_file,
                strerror(errno));
}

/* In front of the first request, and of threads. */
static enum status start_http_client(struct app *app, struct error *err)
{
    enum status status = uses_http_client(app) ? http_client_setup(err) : OK;

    app->has_http_client = status == OK && uses_http_client(app);
    return status;
}

static enum status start_auth(struct app *app, struct error *err)
{
    enum status status = auth_create(&app->config, &app->auth, err);

    if (status != OK)
        return status;
    profile_settings_init(&app->settings);
    status = profile_settings_override(&app->settings, &app->config, err);
    if (status != OK)
        return status;
    warn_of_demo_tokens(&app->config);
    warn_of_development(&app->config);
    auth_start(app->auth, app->loop);
    return OK;
}

/* Their metrics are there before the first event; SQL routes are found when they are asked for. */
static void name_routes(struct app *app)
{
    static const char *const always[] = {"$connect", "$disconnect",
                                         "POST /@connections/{connectionId}"};

    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        cloudwatch_add_route(app->cloudwatch, always[i]);
    for (size_t i = 0; app->api && i < app->api->route_count; i++)
        cloudwatch_add_route(app->cloudwatch, app->api->routes[i].key);
}

static enum status open_logs(struct app *app, struct error *err)
{
    const struct config *config = &app->config;

    app->cloudwatch = cloudwatch_create(config->api_id, config->stage);
    name_routes(app);
    if (!*config->access_log_file)
        return OK;
    return access_log_create(app->loop, config->access_log_format, config->access_log_file,
                             &app->access_log, err);
}

static enum status load_api(struct app *app, struct error *err)
{
    return *app->config.api ? api_load(app->config.api, &app->api, err) : OK;
}

/* What has to be right before anything is opened. */
enum status serve_prepare(struct app *app, struct error *err)
{
    enum status status = load_api(app, err);

    if (status == OK)
        status = check_files(&app->config, err);
    if (status == OK && serve_uses_database(app))
        status = database_auth_check(&app->config, err);
    if (status == OK)
        status = start_http_client(app, err);
    if (status == OK)
        status = start_auth(app, err);
    if (status == OK)
        status = open_logs(app, err);
    return status;
}

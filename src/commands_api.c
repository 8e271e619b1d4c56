/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands_api.c - switchboard api check: reads an API description as serve would, and says what it
 * makes of it.
 */
#include "commands_internal.h"

#include <string.h>

#include "api.h"
#include "config.h"
#include "json.h"

/* ---- what is in no route's way ---- */

static bool has_integration(const struct api *api, const struct api_integration *integration)
{
    for (size_t i = 0; i < api->route_count; i++)
        if (api->routes[i].integration == integration)
            return true;
    return false;
}

static bool has_authorizer(const struct api *api, const struct api_authorizer *authorizer)
{
    for (size_t i = 0; i < api->route_count; i++)
        if (api->routes[i].authorizer == authorizer)
            return true;
    return false;
}

/* ---- for programs ---- */

static void write_integration(struct buf *out, const struct api_integration *integration)
{
    json_str(out, "integration", integration ? integration->name : NULL);
    if (!integration)
        return;
    json_str(out, "type", api_integration_type_name(integration->type));
    if (!integration->url)
        return;
    json_str(out, "method", integration->method ? integration->method : "POST");
    json_str(out, "url", integration->url);
    json_int(out, "timeoutInMillis", integration->timeout_ms);
}

/* "10/s:20", as a description may have it */
static void write_rate(struct buf *out, const struct rate *rate)
{
    buf_addf(out, "%g/s:%g", rate->per_ms * 1000, rate->burst);
}

static void write_route(struct buf *out, const struct api_route *route)
{
    struct buf rate;

    json_open(out, NULL, '{');
    json_str(out, "route", route->key);
    write_integration(out, route->integration);
    json_bool(out, "twoWay", route->has_response);
    if (route->authorizer)
        json_str(out, "authorizer", route->authorizer->name);
    if (route->needs_api_key)
        json_bool(out, "apiKeyRequired", true);
    if (route->rate.burst > 0) {
        buf_init(&rate, 128);
        write_rate(&rate, &route->rate);
        json_str(out, "throttle", buf_str(&rate));
        buf_done(&rate);
    }
    json_close(out, '}');
}

static void write_unused(struct buf *out, const struct api *api)
{
    json_open(out, "unused", '{');
    json_open(out, "integrations", '[');
    for (size_t i = 0; i < api->integration_count; i++)
        if (!has_integration(api, &api->integrations[i]))
            json_str(out, NULL, api->integrations[i].name);
    json_close(out, ']');
    json_open(out, "authorizers", '[');
    for (size_t i = 0; i < api->authorizer_count; i++)
        if (!has_authorizer(api, &api->authorizers[i]))
            json_str(out, NULL, api->authorizers[i].name);
    json_close(out, ']');
    json_close(out, '}');
}

static void write_json(struct buf *out, const struct api *api)
{
    json_open(out, NULL, '{');
    json_open(out, "routes", '[');
    for (size_t i = 0; i < api->route_count; i++)
        write_route(out, &api->routes[i]);
    json_close(out, ']');
    write_unused(out, api);
    json_bool(out, "needsDatabase", api_uses_sql(api));
    json_close(out, '}');
    buf_addc(out, '\n');
}

/* ---- for people ---- */

static void add_note(struct buf *out, const char *separator, const char *what, const char *name)
{
    buf_adds(out, separator);
    buf_adds(out, what);
    buf_adds(out, name);
}

static void print_notes(struct buf *out, const struct api_route *route)
{
    if (route->has_response)
        add_note(out, "  ", "two-way", "");
    if (route->authorizer)
        add_note(out, "  ", "authorizer ", route->authorizer->name);
    if (route->needs_api_key)
        add_note(out, "  ", "API key", "");
    if (route->rate.burst > 0) {
        buf_adds(out, "  at most ");
        write_rate(out, &route->rate);
    }
}

static void print_route(struct buf *out, const struct api_route *route)
{
    const struct api_integration *integration = route->integration;

    buf_addf(out, "%-24s", route->key);
    if (!integration) {
        buf_addf(out, "  %-16s  %-10s", "(nothing)", "");
    } else {
        buf_addf(out, "  %-16s  %-10s", integration->name,
                 api_integration_type_name(integration->type));
        if (integration->url)
            buf_addf(out, "  %s %s", integration->method ? integration->method : "POST",
                     integration->url);
    }
    print_notes(out, route);
    while (out->data[out->len - 1] == ' ') /* of the last column */
        out->len--;
    buf_addc(out, '\n');
}

static void print_text(struct buf *out, const struct api *api)
{
    buf_addf(out, "%-24s  %-16s  %-10s  %s\n", "route", "integration", "type", "where and how");
    for (size_t i = 0; i < api->route_count; i++)
        print_route(out, &api->routes[i]);
    for (size_t i = 0; i < api->authorizer_count; i++)
        buf_addf(out, "\nauthorizer %s: POST %s%s", api->authorizers[i].name,
                 api->authorizers[i].url,
                 has_authorizer(api, &api->authorizers[i]) ? "" : ", which no route uses");
    for (size_t i = 0; i < api->integration_count; i++)
        if (!has_integration(api, &api->integrations[i]))
            buf_addf(out, "\nintegration %s: no route uses it", api->integrations[i].name);
    buf_addf(out, "\n%s\n", api_uses_sql(api) ? "A database is needed." : "No database is needed.");
}

int run_api(const struct invocation *invocation)
{
    const char *file = invocation->arguments[1];
    struct error err = {0};
    struct api *api = NULL;
    struct buf out;

    if (strcmp(invocation->arguments[0], "check") != 0)
        return fail_usage("api takes \"check\" and a file");
    if (!file)
        file = invocation->config->api;
    if (!*file)
        return fail_usage("api check takes a file, or the setting api");
    if (api_load(file, &api, &err) != OK)
        return fail_command(&err);
    buf_init(&out, COMMAND_OUTPUT_BYTES);
    if (invocation->is_json)
        write_json(&out, api);
    else
        print_text(&out, api);
    print(&out);
    api_free(api);
    return EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_api.c - any bytes as an API description: refused with a reason, or one whose every question
 * has an answer.
 */
#include "api.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static const char *no_header(const void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    return NULL;
}

static void check_templates(const struct api_templates *templates, const char *body)
{
    const struct selection_answer answer = {.status = 200, .header = no_header};
    const struct template *found =
        api_template(templates, body, body ? strlen(body) : 0, body ? NULL : &answer, "200");
    bool is_known = found == NULL;

    for (size_t i = 0; i < templates->count; i++) {
        require(templates->templates[i] && templates->keys[i][0]);
        is_known = is_known || templates->templates[i] == found;
    }
    require(is_known);
}

static void check_integration(const struct api_integration *integration)
{
    bool is_http = integration->type == API_HTTP || integration->type == API_HTTP_PROXY;

    require(integration->name[0] != '\0' && api_integration_type_name(integration->type));
    require((integration->url != NULL) == (is_http || integration->type == API_LAMBDA));
    require((integration->method != NULL) == is_http);
    require(integration->timeout_ms >= 50 && integration->timeout_ms <= 29000);
    check_templates(&integration->request_templates, "{\"a\":\"b\"}");
    for (int status = 99; status < 600; status += 67) {
        const struct api_response *response = api_response(integration, status);

        if (response)
            check_templates(&response->templates, NULL);
    }
}

static void check_route(struct api *api, struct api_route *route)
{
    bool is_connect = strcmp(route->key, "$connect") == 0;

    require(api_route(api, route->key) == route);
    require(is_connect || (!route->authorizer && !route->needs_api_key));
    require(!route->needs_api_key || api->api_key_count > 0);
    require(!route->integration ||
            (route->integration >= api->integrations &&
             route->integration < api->integrations + api->integration_count));
    require(route->rate.burst == 0 || rate_bucket_take(&route->bucket, &route->rate, 1) == 0);
}

static void check(struct api *api)
{
    require(api->route_count > 0);
    require((api->stage_variables != NULL) == (api->stage_variables_text != NULL));
    for (size_t i = 0; i < api->integration_count; i++)
        check_integration(&api->integrations[i]);
    for (size_t i = 0; i < api->authorizer_count; i++)
        require(api->authorizers[i].name[0] != '\0' && api->authorizers[i].url[0] == 'h');
    for (size_t i = 0; i < api->route_count; i++)
        check_route(api, &api->routes[i]);
    require(!api_route(api, ""));
    require(!api_uses_sql(api) || api->integration_count > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api *api = NULL;
    struct error err = {.text = ""};

    if (api_parse((const char *)data, size, &api, &err) == OK)
        check(api);
    else
        require(err.status == INVALID && err.text[0] != '\0' && !api);
    api_free(api);
    return 0;
}

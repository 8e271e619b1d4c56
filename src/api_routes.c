/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_routes.c - the routes of an API description: what runs for which key.
 */
#include "api_internal.h"

#include <string.h>

/* Bits of struct api_member's kinds. */
enum {
    IS_CONNECT = 1,
    IS_DISCONNECT = 2,
    IS_MESSAGE = 4,
    IS_ANY = IS_CONNECT | IS_DISCONNECT | IS_MESSAGE
};

enum { MAX_ROUTE_KEY_BYTES = 127 }; /* what a message selects beyond that is $default */

static const struct api_member route_rows[] = {
    {"integration", JSON_STRING, IS_ANY, 0},
    {"routeResponse", JSON_BOOL, IS_ANY, 0},
    {"authorizer", JSON_STRING, IS_CONNECT, 0},
    {"apiKeyRequired", JSON_BOOL, IS_CONNECT, 0},
    {"throttle", JSON_STRING, IS_CONNECT | IS_MESSAGE, 0},
};

static enum status find_integration(const struct api_place *place, const char *name,
                                    const struct api *api, struct api_route *route,
                                    struct error *err)
{
    for (size_t i = 0; i < api->integration_count; i++)
        if (strcmp(api->integrations[i].name, name) == 0)
            route->integration = &api->integrations[i];
    return route->integration ? OK
                              : api_wrong(place, err, "there is no integration \"%.80s\"", name);
}

static enum status find_authorizer(const struct api_place *place, const char *name,
                                   const struct api *api, struct api_route *route,
                                   struct error *err)
{
    for (size_t i = 0; i < api->authorizer_count; i++)
        if (strcmp(api->authorizers[i].name, name) == 0)
            route->authorizer = &api->authorizers[i];
    return route->authorizer ? OK : api_wrong(place, err, "there is no authorizer \"%.80s\"", name);
}

static bool is_true(const struct json *object, const char *member)
{
    const struct json *value = json_get(object, member);

    return value && json_is_true(value);
}

/* Who may connect. */
static enum status parse_admission(const struct api_place *place, const struct json *object,
                                   const struct api *api, struct api_route *route,
                                   struct error *err)
{
    struct api_place authorizer_place = {place, "authorizer"};
    struct api_place key_place = {place, "apiKeyRequired"};
    const struct json *authorizer = json_get(object, authorizer_place.name);

    route->needs_api_key = is_true(object, key_place.name);
    if (route->needs_api_key && api->api_key_count == 0)
        return api_wrong(&key_place, err, "there are no apiKeys: nobody could connect");
    return authorizer ? find_authorizer(&authorizer_place, json_text(authorizer), api, route, err)
                      : OK;
}

/* On $connect AWS wants a response for integrations with templates, and nothing comes of it: the
 * answer to a handshake is the integration's status.  On $disconnect there is nobody to answer. */
static enum status parse_response(const struct api_place *outer, const struct json *object,
                                  unsigned kind, struct api_route *route, struct error *err)
{
    struct api_place place = {outer, "routeResponse"};

    if (kind == IS_DISCONNECT && is_true(object, place.name))
        return api_wrong(&place, err, "there is nobody left to answer");
    route->has_response = kind == IS_MESSAGE && is_true(object, place.name);
    return OK;
}

static enum status parse_members(const struct api_place *place, const struct json *object,
                                 unsigned kind, const struct api *api, struct api_route *route,
                                 struct error *err)
{
    struct api_place integration_place = {place, "integration"};
    struct api_place throttle_place = {place, "throttle"};
    const struct json *integration = json_get(object, integration_place.name);
    const struct json *throttle = json_get(object, throttle_place.name);
    enum status st = parse_response(place, object, kind, route, err);

    if (st == OK && integration)
        st = find_integration(&integration_place, json_text(integration), api, route, err);
    if (st == OK)
        st = parse_admission(place, object, api, route, err);
    if (st == OK && throttle && rate_parse(json_text(throttle), &route->rate, err) != OK)
        st = api_wrong_at(&throttle_place, err);
    return st;
}

static enum status check_key(const struct api_place *place, struct error *err)
{
    const char *key = place->name;

    if (strlen(key) > MAX_ROUTE_KEY_BYTES)
        return api_wrong(place, err, "the key is longer than %d bytes", MAX_ROUTE_KEY_BYTES);
    if (key[0] == '$' && strcmp(key, "$connect") != 0 && strcmp(key, "$disconnect") != 0 &&
        strcmp(key, "$default") != 0)
        return api_wrong(place, err,
                         "of keys that begin with $ there are $connect, $disconnect and $default");
    return OK;
}

static enum status parse_route(const struct api_place *place, const struct json *value,
                               const struct api *api, struct api_route *out, struct error *err)
{
    const char *key = place->name;
    unsigned kind = strcmp(key, "$connect") == 0      ? IS_CONNECT
                    : strcmp(key, "$disconnect") == 0 ? IS_DISCONNECT
                                                      : IS_MESSAGE;
    struct api_members members = {"a route", route_rows, ARRAY_LEN(route_rows)};
    enum status st = check_key(place, err);

    if (st != OK)
        return st;
    out->key = mem_strdup(key);
    if (json_text(value))
        return find_integration(place, json_text(value), api, out, err);
    if (json_type(value) != JSON_OBJECT)
        return api_wrong(place, err, "a route is an object or the name of an integration");
    if (kind == IS_DISCONNECT)
        members.what = "$disconnect";
    else if (kind == IS_MESSAGE)
        members.what = "a route for messages";
    st = api_check_members(place, value, &members, kind, err);
    return st == OK ? parse_members(place, value, kind, api, out, err) : st;
}

enum status api_parse_routes(const struct api_place *document, const struct json *object,
                             struct api *api, struct error *err)
{
    struct api_place place = {document, "routes"};
    enum status st = api_check_names(&place, object, API_MAX_ROUTES, err);
    const struct json *it;
    size_t i = 0;

    if (st != OK)
        return st;
    if (json_len(object) == 0)
        return api_wrong(&place, err, "there is none");
    api->routes = mem_alloc(json_len(object) * sizeof(struct api_route));
    api->route_count = json_len(object);
    for (it = json_first(object); it && st == OK; it = json_next(it)) {
        struct api_place here = {&place, json_key(it)};

        st = parse_route(&here, it, api, &api->routes[i++], err);
    }
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_integration.c - the integrations of an API description.
 */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>

/* Bits of struct api_member's kinds. */
enum {
    IS_SQL = 1 << API_SQL,
    IS_MOCK = 1 << API_MOCK,
    IS_PROXY = 1 << API_HTTP_PROXY,
    IS_HTTP = 1 << API_HTTP,
    IS_LAMBDA = 1 << API_LAMBDA,
    HAS_METHOD = IS_PROXY | IS_HTTP,
    HAS_URL = HAS_METHOD | IS_LAMBDA,
    HAS_TEMPLATES = IS_MOCK | IS_HTTP,
    IS_ANY = IS_SQL | IS_MOCK | HAS_URL
};

static const char *const type_names[] = {
    [API_SQL] = "sql",   [API_MOCK] = "mock",     [API_HTTP_PROXY] = "http_proxy",
    [API_HTTP] = "http", [API_LAMBDA] = "lambda",
};
static const char *const whats[] = {
    [API_SQL] = "a sql integration",
    [API_MOCK] = "a mock integration",
    [API_HTTP_PROXY] = "an http_proxy integration",
    [API_HTTP] = "an http integration",
    [API_LAMBDA] = "a lambda integration",
};

static const struct api_member integration_members[] = {
    {"type", JSON_STRING, IS_ANY, IS_ANY},
    {"url", JSON_STRING, HAS_URL, HAS_URL},
    {"method", JSON_STRING, HAS_METHOD, 0},
    {"timeoutInMillis", JSON_NUMBER, HAS_URL, 0},
    {"requestParameters", JSON_OBJECT, HAS_METHOD, 0},
    {"templateSelectionExpression", JSON_STRING, HAS_TEMPLATES, 0},
    {"requestTemplates", JSON_OBJECT, HAS_TEMPLATES, 0},
    {"passthroughBehavior", JSON_STRING, HAS_TEMPLATES, 0},
    {"responses", JSON_OBJECT, HAS_TEMPLATES, 0},
};

static const struct api_member response_members[] = {
    {"templateSelectionExpression", JSON_STRING, 1, 0},
    {"responseTemplates", JSON_OBJECT, 1, 0},
};
static const struct api_members response_shape = {"a response", response_members,
                                                  ARRAY_LEN(response_members)};

const char *api_integration_type_name(enum api_integration_type type)
{
    return type_names[type];
}

/* The index of the text, or count. */
static size_t index_of(const char *const *texts, size_t count, const char *text)
{
    size_t i = 0;

    while (i < count && strcmp(texts[i], text) != 0)
        i++;
    return i;
}

/* ---- templates ---- */

static enum status parse_template(const struct api_place *place, const struct json *value,
                                  struct template **out, struct error *err)
{
    const char *text = json_text(value);

    if (!text)
        return api_wrong(place, err, "a template is a text");
    if (strlen(text) > API_MAX_TEMPLATE_BYTES)
        return api_wrong(place, err, "a template has at most %d bytes", API_MAX_TEMPLATE_BYTES);
    if (template_compile(text, strlen(text), out, err) != OK)
        return api_wrong_at(place, err);
    return OK;
}

static enum status parse_template_map(const struct api_place *place, const struct json *object,
                                      struct api_templates *templates, struct error *err)
{
    enum status st = api_check_names(place, object, API_MAX_ENTRIES, err);
    const struct json *it;

    if (st != OK)
        return st;
    templates->keys = mem_alloc(json_len(object) * sizeof(char *) + 1);
    templates->templates = mem_alloc(json_len(object) * sizeof(struct template *) + 1);
    for (it = json_first(object); it; it = json_next(it)) {
        struct api_place here = {place, json_key(it)};

        st = parse_template(&here, it, &templates->templates[templates->count], err);
        if (st != OK)
            return st;
        templates->keys[templates->count++] = mem_strdup(json_key(it));
    }
    return OK;
}

/* The expression and the map that it selects from, both optional. */
static enum status parse_templates(const struct api_place *place, const struct json *object,
                                   const char *map_member, struct api_templates *out,
                                   struct error *err)
{
    struct api_place expression_place = {place, "templateSelectionExpression"};
    struct api_place map_place = {place, map_member};
    const struct json *expression = json_get(object, expression_place.name);
    const struct json *map = json_get(object, map_member);

    if (expression && selection_compile(json_text(expression), &out->selection, err) != OK)
        return api_wrong_at(&expression_place, err);
    return map ? parse_template_map(&map_place, map, out, err) : OK;
}

/* ---- responses ---- */

static bool is_status(const char *key)
{
    return strlen(key) == 3 && key[0] >= '1' && key[0] <= '5' && key[1] >= '0' && key[1] <= '9' &&
           key[2] >= '0' && key[2] <= '9';
}

static enum status parse_response(const struct api_place *place, const struct json *object,
                                  struct api_response *out, struct error *err)
{
    enum status st = api_check_members(place, object, &response_shape, 1, err);

    if (st != OK)
        return st;
    out->key = mem_strdup(place->name);
    if (out->key[0] == '/') {
        if (api_pattern_compile(out->key, &out->regex, err) != OK)
            return api_wrong_at(place, err);
    } else if (strcmp(out->key, "$default") != 0 && !is_status(out->key)) {
        return api_wrong(place, err,
                         "a response is for a status such as 404, an expression on it such as "
                         "/5\\d\\d/, or $default");
    }
    return parse_templates(place, object, "responseTemplates", &out->templates, err);
}

static enum status parse_responses(const struct api_place *place, const struct json *object,
                                   struct api_integration *integration, struct error *err)
{
    enum status st = api_check_names(place, object, API_MAX_ENTRIES, err);
    const struct json *it;
    size_t i = 0;

    if (st != OK)
        return st;
    integration->responses = mem_alloc(json_len(object) * sizeof(struct api_response) + 1);
    integration->response_count = json_len(object);
    for (it = json_first(object); it && st == OK; it = json_next(it)) {
        struct api_place here = {place, json_key(it)};

        st = parse_response(&here, it, &integration->responses[i++], err);
    }
    return st;
}

/* ---- an integration ---- */

static enum status parse_method(const struct api_place *outer, const struct json *object,
                                struct api_integration *integration, struct error *err)
{
    static const char *const methods[] = {"ANY",     "DELETE", "GET",  "HEAD",
                                          "OPTIONS", "PATCH",  "POST", "PUT"};
    struct api_place place = {outer, "method"};
    const char *method = json_text(json_get(object, place.name));

    if (!method || strcmp(method, "ANY") == 0) {
        integration->method = mem_strdup("POST");
        return OK;
    }
    if (index_of(methods, ARRAY_LEN(methods), method) == ARRAY_LEN(methods))
        return api_wrong(&place, err,
                         "\"%.32s\" is none of DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT and "
                         "ANY (POST)",
                         method);
    integration->method = mem_strdup(method);
    return OK;
}

static enum status parse_passthrough(const struct api_place *outer, const struct json *object,
                                     struct api_integration *integration, struct error *err)
{
    static const char *const behaviors[] = {
        [API_WHEN_NO_MATCH] = "WHEN_NO_MATCH",
        [API_WHEN_NO_TEMPLATES] = "WHEN_NO_TEMPLATES",
        [API_NEVER] = "NEVER",
    };
    struct api_place place = {outer, "passthroughBehavior"};
    const char *text = json_text(json_get(object, place.name));
    size_t i;

    if (!text)
        return OK;
    i = index_of(behaviors, ARRAY_LEN(behaviors), text);
    if (i == ARRAY_LEN(behaviors))
        return api_wrong(&place, err,
                         "\"%.32s\" is none of WHEN_NO_MATCH, WHEN_NO_TEMPLATES and NEVER", text);
    integration->passthrough = (enum api_passthrough)i;
    return OK;
}

static enum status parse_target(const struct api_place *place, const struct json *object,
                                struct api_integration *integration, struct error *err)
{
    struct api_place parameters_place = {place, "requestParameters"};
    struct api_place url_place = {place, "url"};
    const struct json *parameters = json_get(object, parameters_place.name);
    enum status st;

    if (parameters) {
        st = api_check_names(&parameters_place, parameters, API_MAX_ENTRIES, err);
        if (st != OK)
            return st;
        if (mapping_create(parameters, &integration->request_parameters, err) != OK)
            return api_wrong_at(&parameters_place, err);
    }
    integration->url = mem_strdup(json_text(json_get(object, url_place.name)));
    st = api_check_url(&url_place, integration->url, parameters, err);
    return st == OK ? api_get_timeout(place, object, &integration->timeout_ms, err) : st;
}

static enum status parse_request_templates(const struct api_place *place, const struct json *object,
                                           struct api_integration *integration, struct error *err)
{
    struct api_place expression_place = {place, "templateSelectionExpression"};
    struct api_place responses_place = {place, "responses"};
    const char *expression = json_text(json_get(object, expression_place.name));
    const struct json *responses = json_get(object, responses_place.name);
    enum status st;

    if (expression && strstr(expression, "integration.response."))
        return api_wrong(&expression_place, err,
                         "there is no integration.response in front of the call; it belongs into "
                         "responses");
    st = parse_templates(place, object, "requestTemplates", &integration->request_templates, err);
    if (st == OK)
        st = parse_passthrough(place, object, integration, err);
    if (st == OK && responses)
        st = parse_responses(&responses_place, responses, integration, err);
    return st;
}

/* The type alone: it decides which other members there may be. */
static enum status parse_type(const struct api_place *outer, const struct json *object,
                              enum api_integration_type *out, struct error *err)
{
    struct api_place place = {outer, "type"};
    const struct json *value;
    size_t i;

    if (json_type(object) != JSON_OBJECT)
        return api_wrong(outer, err, "an integration is an object");
    value = json_get(object, place.name);
    if (!value)
        return api_wrong(&place, err, "is missing");
    if (!json_text(value))
        return api_wrong(&place, err, "is not a text");
    i = index_of(type_names, ARRAY_LEN(type_names), json_text(value));
    if (i == ARRAY_LEN(type_names))
        return api_wrong(&place, err, "\"%.32s\" is none of lambda, http_proxy, http, mock and sql",
                         json_text(value));
    *out = (enum api_integration_type)i;
    return OK;
}

/* Most mocks have one template, without variables. */
static void find_constant_status(struct api_integration *integration)
{
    const struct api_templates *templates = &integration->request_templates;
    struct buf text;

    if (templates->count != 1 || templates->selection)
        return;
    buf_init(&text, API_MAX_CONSTANT_BYTES);
    if (!template_is_constant(templates->templates[0], &text) ||
        !api_mock_status(buf_str(&text), text.len, &integration->mock_status))
        integration->mock_status = 0;
    buf_done(&text);
}

static enum status parse_integration(const struct api_place *place, const struct json *object,
                                     struct api_integration *out, struct error *err)
{
    struct api_members members = {NULL, integration_members, ARRAY_LEN(integration_members)};
    enum status st = parse_type(place, object, &out->type, err);
    unsigned kind;

    if (st != OK)
        return st;
    kind = 1U << out->type;
    members.what = whats[out->type];
    st = api_check_members(place, object, &members, kind, err);
    if (st != OK)
        return st;
    out->name = mem_strdup(place->name);
    out->timeout_ms = API_MAX_TIMEOUT_MS;
    if (kind & HAS_URL)
        st = parse_target(place, object, out, err);
    if (st == OK && kind & HAS_METHOD)
        st = parse_method(place, object, out, err);
    if (st == OK && kind & HAS_TEMPLATES)
        st = parse_request_templates(place, object, out, err);
    if (st == OK && out->type == API_MOCK)
        find_constant_status(out);
    return st;
}

enum status api_parse_integrations(const struct api_place *document, const struct json *object,
                                   struct api *api, struct error *err)
{
    struct api_place place = {document, "integrations"};
    enum status st = api_check_names(&place, object, API_MAX_INTEGRATIONS, err);
    const struct json *it;
    size_t i = 0;

    if (st != OK)
        return st;
    api->integrations = mem_alloc(json_len(object) * sizeof(struct api_integration) + 1);
    api->integration_count = json_len(object);
    for (it = json_first(object); it && st == OK; it = json_next(it)) {
        struct api_place here = {&place, json_key(it)};

        st = parse_integration(&here, it, &api->integrations[i++], err);
    }
    return st;
}

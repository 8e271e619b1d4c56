/* SPDX-License-Identifier: Apache-2.0 */
#include "api.h"

#include "api_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 16 * 1024 * 1024, SELECTED_BYTES = 4 * API_MAX_NAME_CHARS };

/* ---- life ---- */

/* The bytes of the file, added to text. */
static enum status read_file(const char *name, struct buf *text, struct error *err)
{
    FILE *file = fopen(name, "re");
    enum status st = OK;
    char chunk[4096];
    size_t len;

    if (!file)
        return fail(err, UNAVAILABLE, "cannot open \"%.200s\": %s", name, strerror(errno));
    while ((len = fread(chunk, 1, sizeof(chunk), file)) > 0)
        buf_add(text, chunk, len);
    if (ferror(file))
        st = fail(err, UNAVAILABLE, "cannot read \"%.200s\": %s", name, strerror(errno));
    else if (buf_full(text))
        st = fail(err, INVALID, "\"%.200s\" is larger than %d bytes", name, MAX_FILE_BYTES);
    fclose(file);
    return st;
}

enum status api_load(const char *file, struct api **out, struct error *err)
{
    struct error local = {.text = ""};
    struct error *why = err ? err : &local;
    struct buf text;
    enum status st;

    buf_init(&text, MAX_FILE_BYTES);
    st = read_file(file, &text, why);
    if (st == OK) {
        st = api_parse(buf_str(&text), text.len, out, why);
        if (st != OK)
            fail_context(why, "%.200s", file);
    }
    buf_done(&text);
    return st;
}

static void free_templates(struct api_templates *templates)
{
    for (size_t i = 0; i < templates->count; i++) {
        free(templates->keys[i]);
        template_free(templates->templates[i]);
    }
    free(templates->keys);
    free(templates->templates);
    selection_free(templates->selection);
}

static void free_integration(struct api_integration *integration)
{
    for (size_t i = 0; i < integration->response_count; i++) {
        free(integration->responses[i].key);
        api_pattern_free(integration->responses[i].regex);
        free_templates(&integration->responses[i].templates);
    }
    free(integration->responses);
    free_templates(&integration->request_templates);
    mapping_free(integration->request_parameters);
    free(integration->method);
    free(integration->url);
    free(integration->name);
}

static void free_authorizer(struct api_authorizer *authorizer)
{
    for (size_t i = 0; i < authorizer->identity_count; i++)
        free(authorizer->identity_sources[i]);
    free(authorizer->identity_sources);
    free(authorizer->url);
    free(authorizer->name);
}

/* Also of one that was not parsed to its end: what is not there yet is zero. */
void api_free(struct api *api)
{
    if (!api)
        return;
    for (size_t i = 0; i < api->route_count; i++)
        free(api->routes[i].key);
    for (size_t i = 0; i < api->integration_count; i++)
        free_integration(&api->integrations[i]);
    for (size_t i = 0; i < api->authorizer_count; i++)
        free_authorizer(&api->authorizers[i]);
    for (size_t i = 0; i < api->api_key_count; i++)
        free(api->api_keys[i]);
    free(api->routes);
    free(api->integrations);
    free(api->authorizers);
    free(api->api_keys);
    free(api->stage_variables_text);
    free(api->route_selection_expression);
    json_free(api->document);
    free(api);
}

/* ---- questions ---- */

struct api_route *api_route(struct api *api, const char *key)
{
    for (size_t i = 0; i < api->route_count; i++)
        if (strcmp(api->routes[i].key, key) == 0)
            return &api->routes[i];
    return NULL;
}

bool api_uses_sql(const struct api *api)
{
    for (size_t i = 0; i < api->route_count; i++)
        if (api->routes[i].integration && api->routes[i].integration->type == API_SQL)
            return true;
    return false;
}

static const struct template *find_template(const struct api_templates *templates, const char *key)
{
    for (size_t i = 0; i < templates->count; i++)
        if (strcmp(templates->keys[i], key) == 0)
            return templates->templates[i];
    return NULL;
}

const struct template *api_template(const struct api_templates *templates, const char *body,
                                    size_t body_len, const struct selection_answer *answer,
                                    const char *fallback_key)
{
    const struct template *found = NULL;

    if (templates->selection) {
        struct buf key;

        buf_init(&key, SELECTED_BYTES);
        selection_eval(templates->selection, body, body_len, answer, &key);
        if (!buf_full(&key)) /* no key is that long */
            found = find_template(templates, buf_str(&key));
        buf_done(&key);
    } else {
        found = fallback_key ? find_template(templates, fallback_key) : NULL;
        if (!found && templates->count == 1)
            found = templates->templates[0];
    }
    return found ? found : find_template(templates, "$default");
}

static const struct api_response *find_response(const struct api_integration *integration,
                                                const char *key)
{
    for (size_t i = 0; i < integration->response_count; i++)
        if (strcmp(integration->responses[i].key, key) == 0)
            return &integration->responses[i];
    return NULL;
}

bool api_mock_status(const char *text, size_t len, int *status)
{
    struct json *json = NULL;
    int64_t code = 0;
    bool is_good;

    if (json_parse(text, len, &json, NULL) != OK)
        return false;
    is_good = json_type(json) == JSON_OBJECT &&
              json_get_int(json, "statusCode", &code, NULL) == OK && code >= 100 && code <= 599;
    json_free(json);
    if (is_good)
        *status = (int)code;
    return is_good;
}

void api_status_text(int status, char out[API_STATUS_BYTES])
{
    if (status < 100 || status > 999) {
        snprintf(out, API_STATUS_BYTES, "%d", status);
        return;
    }
    out[0] = (char)('0' + status / 100);
    out[1] = (char)('0' + status / 10 % 10);
    out[2] = (char)('0' + status % 10);
    out[3] = '\0';
}

const struct api_response *api_response(const struct api_integration *integration, int status)
{
    const struct api_response *found;
    char text[API_STATUS_BYTES];

    api_status_text(status, text);
    found = find_response(integration, text);
    for (size_t i = 0; i < integration->response_count && !found; i++)
        if (integration->responses[i].regex &&
            api_pattern_matches(integration->responses[i].regex, text))
            found = &integration->responses[i];
    return found ? found : find_response(integration, "$default");
}

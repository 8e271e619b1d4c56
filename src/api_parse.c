/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_parse.c - from the text of an API description to a struct api, or to what is wrong with it.
 */
#include "api_internal.h"

#include "route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is wrong, and where ---- */

enum { PLACE_BYTES = 240 }; /* leaves more than half of an error's text to say what is wrong */

static void write_place(const struct api_place *place, struct buf *out)
{
    if (!place || !place->name)
        return;
    write_place(place->outer, out);
    if (out->len)
        buf_addc(out, '.');
    buf_addf(out, "%.80s", place->name);
}

enum status api_wrong_at(const struct api_place *place, struct error *err)
{
    struct buf text;

    buf_init(&text, PLACE_BYTES);
    write_place(place, &text);
    if (text.len)
        fail_context(err, "%s", buf_str(&text));
    buf_done(&text);
    err->status = INVALID;
    return INVALID;
}

enum status api_wrong(const struct api_place *place, struct error *err, const char *fmt, ...)
{
    char text[ERROR_TEXT_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fail(err, INVALID, "%s", text);
    return api_wrong_at(place, err);
}

/* ---- objects ---- */

static const char *type_in_words(enum json_type type)
{
    static const char *const words[] = {
        [JSON_NULL] = "null",     [JSON_BOOL] = "true or false", [JSON_NUMBER] = "a number",
        [JSON_STRING] = "a text", [JSON_ARRAY] = "a list",       [JSON_OBJECT] = "an object",
    };

    return words[type];
}

/* json_get returns the last of several members with that name. */
static bool is_repeated(const struct json *object, const struct json *member)
{
    return json_get(object, json_key(member)) != member;
}

static const struct api_member *find_member(const struct api_members *members, const char *name)
{
    static const struct api_member everywhere[] = {
        {"$schema", JSON_STRING, ~0U, 0},
        {"description", JSON_STRING, ~0U, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(everywhere); i++)
        if (strcmp(everywhere[i].name, name) == 0)
            return &everywhere[i];
    for (size_t i = 0; i < members->count; i++)
        if (strcmp(members->rows[i].name, name) == 0)
            return &members->rows[i];
    return NULL;
}

static enum status check_member(const struct api_place *outer, const struct json *object,
                                const struct json *value, const struct api_members *members,
                                unsigned kind, struct error *err)
{
    struct api_place place = {outer, json_key(value)};
    const struct api_member *member = find_member(members, json_key(value));

    if (!member)
        return api_wrong(&place, err, "%s has no such member", members->what);
    if (!(member->kinds & kind))
        return api_wrong(&place, err, "%s does not have it", members->what);
    if (is_repeated(object, value))
        return api_wrong(&place, err, "is there twice");
    if (json_type(value) != member->type)
        return api_wrong(&place, err, "is not %s", type_in_words(member->type));
    return OK;
}

enum status api_check_members(const struct api_place *place, const struct json *value,
                              const struct api_members *members, unsigned kind, struct error *err)
{
    const struct json *it;
    enum status st = OK;

    if (json_type(value) != JSON_OBJECT)
        return api_wrong(place, err, "%s is an object", members->what);
    for (it = json_first(value); it && st == OK; it = json_next(it))
        st = check_member(place, value, it, members, kind, err);
    for (size_t i = 0; i < members->count && st == OK; i++) {
        struct api_place missing = {place, members->rows[i].name};

        if (members->rows[i].needed & kind && !json_get(value, missing.name))
            st = api_wrong(&missing, err, "is missing");
    }
    return st;
}

size_t api_count_chars(const char *text)
{
    size_t count = 0;

    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

enum status api_check_names(const struct api_place *place, const struct json *object, size_t most,
                            struct error *err)
{
    const struct json *it;

    if (json_len(object) > most)
        return api_wrong(place, err, "%zu of them are more than %zu", json_len(object), most);
    for (it = json_first(object); it; it = json_next(it)) {
        struct api_place here = {place, json_key(it)};

        if (!*json_key(it))
            return api_wrong(place, err, "a name in it is empty");
        if (api_count_chars(json_key(it)) > API_MAX_NAME_CHARS)
            return api_wrong(&here, err, "the name is longer than %d characters",
                             API_MAX_NAME_CHARS);
        if (is_repeated(object, it))
            return api_wrong(&here, err, "is there twice");
    }
    return OK;
}

enum status api_get_timeout(const struct api_place *place, const struct json *object, int64_t *out,
                            struct error *err)
{
    struct api_place here = {place, "timeoutInMillis"};
    const struct json *value = json_get(object, here.name);
    double n = value ? json_number(value) : API_MAX_TIMEOUT_MS;

    if (!(n >= API_MIN_TIMEOUT_MS && n <= API_MAX_TIMEOUT_MS) || (double)(int64_t)n != n)
        return api_wrong(&here, err, "is not an integer from %d to %d", API_MIN_TIMEOUT_MS,
                         API_MAX_TIMEOUT_MS);
    *out = (int64_t)n;
    return OK;
}

/* ---- stage variables and API keys ---- */

static bool is_variable_name(const char *name)
{
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
           strlen(name);
}

static enum status parse_stage_variables(const struct api_place *document,
                                         const struct json *object, struct api *api,
                                         struct error *err)
{
    struct api_place place = {document, "stageVariables"};
    enum status st = api_check_names(&place, object, API_MAX_ENTRIES, err);
    const struct json *it;
    struct buf text;

    if (st != OK || json_len(object) == 0)
        return st;
    for (it = json_first(object); it; it = json_next(it)) {
        struct api_place here = {&place, json_key(it)};

        if (!is_variable_name(json_key(it)))
            return api_wrong(&here, err, "a name consists of letters, digits and underscores");
        if (!json_text(it))
            return api_wrong(&here, err, "is not a text");
        if (api_count_chars(json_text(it)) > API_MAX_VARIABLE_CHARS)
            return api_wrong(&here, err, "is longer than %d characters", API_MAX_VARIABLE_CHARS);
    }
    buf_init(&text, SIZE_MAX);
    json_write(&text, NULL, object);
    api->stage_variables = object;
    api->stage_variables_text = buf_take(&text);
    return OK;
}

/* Visible ASCII: it has to fit into a header, and blanks around a header's value get lost. */
static bool is_key(const char *key)
{
    size_t len = 0;

    while (key[len] > ' ' && key[len] <= '~')
        len++;
    return len > 0 && len <= API_MAX_KEY_CHARS && !key[len];
}

static enum status parse_api_keys(const struct api_place *document, const struct json *list,
                                  struct api *api, struct error *err)
{
    struct api_place place = {document, "apiKeys"};
    const struct json *it;

    if (json_len(list) > API_MAX_KEYS)
        return api_wrong(&place, err, "%zu of them are more than %d", json_len(list), API_MAX_KEYS);
    api->api_keys = mem_alloc(json_len(list) * sizeof(char *) + 1);
    for (it = json_first(list); it; it = json_next(it)) {
        const char *key = json_text(it);

        if (!key || !is_key(key)) /* not the key itself: it is a secret */
            return api_wrong(&place, err,
                             "number %zu is not a text of 1 to %d visible ASCII characters",
                             api->api_key_count + 1, API_MAX_KEY_CHARS);
        api->api_keys[api->api_key_count++] = mem_strdup(key);
    }
    return OK;
}

/* ---- authorizers ---- */

static const struct api_member authorizer_rows[] = {
    {"type", JSON_STRING, 1, 0},
    {"url", JSON_STRING, 1, 1},
    {"identitySources", JSON_ARRAY, 1, 0},
    {"timeoutInMillis", JSON_NUMBER, 1, 0},
};
static const struct api_members authorizer_members = {"an authorizer", authorizer_rows,
                                                      ARRAY_LEN(authorizer_rows)};

/* A source of an event of which an authorizer may ask that it is there. */
static enum status check_identity_source(const char *source, struct error *err)
{
    static const char *const prefixes[] = {"route.request.header.", "route.request.querystring.",
                                           "stageVariables.", "context."};
    static const char name_characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        const char *name = source + strlen(prefixes[i]);

        if (strncmp(source, prefixes[i], strlen(prefixes[i])) == 0 && *name &&
            strspn(name, name_characters) == strlen(name))
            return event_source_check(source, err);
    }
    return fail(err, INVALID,
                "\"%.80s\" is none of route.request.header.<name>, "
                "route.request.querystring.<name>, stageVariables.<name> and context.<name>",
                source);
}

static enum status parse_identity_sources(const struct api_place *outer, const struct json *object,
                                          struct api_authorizer *authorizer, struct error *err)
{
    struct api_place place = {outer, "identitySources"};
    const struct json *list = json_get(object, place.name);
    const struct json *it;

    if (!list)
        return OK;
    if (json_len(list) > API_MAX_ENTRIES)
        return api_wrong(&place, err, "%zu of them are more than %d", json_len(list),
                         API_MAX_ENTRIES);
    authorizer->identity_sources = mem_alloc(json_len(list) * sizeof(char *) + 1);
    for (it = json_first(list); it; it = json_next(it)) {
        if (!json_text(it))
            return api_wrong(&place, err, "number %zu is not a text",
                             authorizer->identity_count + 1);
        if (check_identity_source(json_text(it), err) != OK)
            return api_wrong_at(&place, err);
        authorizer->identity_sources[authorizer->identity_count++] = mem_strdup(json_text(it));
    }
    return OK;
}

static enum status parse_authorizer(const struct api_place *place, const struct json *object,
                                    struct api_authorizer *out, struct error *err)
{
    struct api_place type_place = {place, "type"};
    struct api_place url_place = {place, "url"};
    enum status st = api_check_members(place, object, &authorizer_members, 1, err);
    const struct json *type;

    if (st != OK)
        return st;
    out->name = mem_strdup(place->name);
    type = json_get(object, type_place.name);
    if (type && strcmp(json_text(type), "request") != 0)
        return api_wrong(&type_place, err, "\"%.32s\" is not request, the only type that there is",
                         json_text(type));
    out->url = mem_strdup(json_text(json_get(object, url_place.name)));
    st = api_check_url(&url_place, out->url, NULL, err);
    if (st == OK)
        st = api_get_timeout(place, object, &out->timeout_ms, err);
    return st == OK ? parse_identity_sources(place, object, out, err) : st;
}

static enum status parse_authorizers(const struct api_place *document, const struct json *object,
                                     struct api *api, struct error *err)
{
    struct api_place place = {document, "authorizers"};
    enum status st = api_check_names(&place, object, API_MAX_AUTHORIZERS, err);
    const struct json *it;
    size_t i = 0;

    if (st != OK)
        return st;
    api->authorizers = mem_alloc(json_len(object) * sizeof(struct api_authorizer) + 1);
    api->authorizer_count = json_len(object);
    for (it = json_first(object); it && st == OK; it = json_next(it)) {
        struct api_place here = {&place, json_key(it)};

        st = parse_authorizer(&here, it, &api->authorizers[i++], err);
    }
    return st;
}

/* ---- the document ---- */

static const struct api_member document_rows[] = {
    {"routeSelectionExpression", JSON_STRING, 1, 0},
    {"stageVariables", JSON_OBJECT, 1, 0},
    {"apiKeys", JSON_ARRAY, 1, 0},
    {"authorizers", JSON_OBJECT, 1, 0},
    {"integrations", JSON_OBJECT, 1, 0},
    {"routes", JSON_OBJECT, 1, 1},
};
static const struct api_members document_members = {"an API description", document_rows,
                                                    ARRAY_LEN(document_rows)};

static enum status parse_expression(const struct api_place *document, const struct json *value,
                                    struct api *api, struct error *err)
{
    struct api_place place = {document, "routeSelectionExpression"};
    struct route_expression *expression = NULL;

    if (route_compile(json_text(value), &expression, err) != OK)
        return api_wrong_at(&place, err);
    route_free(expression);
    api->route_selection_expression = mem_strdup(json_text(value));
    return OK;
}

/* In the order in which they need one another. */
static enum status parse_document(const struct json *document, struct api *api, struct error *err)
{
    typedef enum status parse(const struct api_place *place, const struct json *value,
                              struct api *api, struct error *err);
    static const struct {
        const char *member;
        parse *parse;
    } parts[] = {
        {"routeSelectionExpression", parse_expression},
        {"stageVariables", parse_stage_variables},
        {"apiKeys", parse_api_keys},
        {"authorizers", parse_authorizers},
        {"integrations", api_parse_integrations},
        {"routes", api_parse_routes},
    };
    struct api_place place = {NULL, NULL};
    enum status st = api_check_members(&place, document, &document_members, 1, err);

    for (size_t i = 0; i < ARRAY_LEN(parts) && st == OK; i++) {
        const struct json *value = json_get(document, parts[i].member);

        if (value)
            st = parts[i].parse(&place, value, api, err);
    }
    return st;
}

enum status api_parse(const char *text, size_t len, struct api **out, struct error *err)
{
    struct error local = {.text = ""};
    struct error *why = err ? err : &local;
    struct api *api = mem_alloc(sizeof(*api));
    enum status st = json_parse(text, len, &api->document, why);

    if (st == OK)
        st = parse_document(api->document, api, why);
    if (st == OK)
        *out = api;
    else
        api_free(api);
    return st;
}

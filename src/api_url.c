/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_url.c - where integrations and authorizers live: what of a URL a description may have.
 */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char path_prefix[] = "integration.request.path.";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* ---- host and port ---- */

/* ":8080" up to end, or nothing */
static bool is_port(const char *text, const char *end)
{
    long port = 0;

    if (text == end)
        return true;
    if (*text++ != ':' || text == end || end - text > 5)
        return false;
    for (; text < end; text++) {
        if (!is_digit(*text))
            return false;
        port = port * 10 + (*text - '0');
    }
    return port >= 1 && port <= 65535;
}

/* Behind the host, or NULL when there is none. */
static const char *skip_host(const char *text, const char *end)
{
    const char *at = text;

    if (at < end && *at == '[') {
        at++;
        while (at < end && (is_hex(*at) || is_one_of(*at, ":.")))
            at++;
        return at < end && *at == ']' && at > text + 1 ? at + 1 : NULL;
    }
    while (at < end && (is_alnum(*at) || is_one_of(*at, "-._")))
        at++;
    return at > text ? at : NULL;
}

static const char *check_authority(const char *text, const char *end)
{
    const char *behind;

    if (memchr(text, '@', (size_t)(end - text)))
        return "a user name or password is not allowed in a URL";
    if (memchr(text, '{', (size_t)(end - text)))
        return "a {name} can stand in the path only";
    behind = skip_host(text, end);
    if (!behind)
        return "there is no host in it";
    return is_port(behind, end) ? NULL : "what follows the host is no port from 1 to 65535";
}

/* ---- path and query ---- */

/* The length of "{name}", or 0. */
static size_t placeholder_len(const char *text)
{
    size_t len = 1;

    while (is_alnum(text[len]) || is_one_of(text[len], "-_"))
        len++;
    return len > 1 && text[len] == '}' ? len + 1 : 0;
}

static const char *check_rest(const char *at)
{
    bool is_query = false;

    while (*at) {
        if (*at == '{' && !is_query && placeholder_len(at)) {
            at += placeholder_len(at);
        } else if (*at == '{') {
            return is_query ? "a {name} can stand in the path only"
                            : "a {name} consists of letters, digits, hyphens and underscores";
        } else if (*at == '#') {
            return "a fragment (#) is never sent";
        } else if (*at == '%' && (!is_hex(at[1]) || !is_hex(at[2]))) {
            return "behind a % there are not two hexadecimal digits";
        } else if (!is_alnum(*at) && !is_one_of(*at, "%-._~!$&'()*+,;=:@/?")) {
            return "a character in it has to be percent-encoded";
        } else {
            is_query = is_query || *at == '?';
            at++;
        }
    }
    return NULL;
}

/* What is wrong with it, or NULL. */
static const char *check_url(const char *url)
{
    const char *authority;
    const char *wrong;

    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return "it does not begin with http:// or https://";
    authority = strstr(url, "://") + 3;
    wrong = check_authority(authority, authority + strcspn(authority, "/?#"));
    if (wrong)
        return wrong;
    if (strlen(url) > API_MAX_URL_BYTES)
        return "it is longer than 2048 bytes";
    return check_rest(authority + strcspn(authority, "/?#"));
}

/* ---- path parameters ---- */

static enum status check_placeholders(const struct api_place *place, const char *url,
                                      const struct json *parameters, struct error *err)
{
    for (const char *at = strchr(url, '{'); at; at = strchr(at + 1, '{')) {
        size_t len = placeholder_len(at);
        char *member = mem_alloc(sizeof(path_prefix) + len);
        bool is_mapped;

        memcpy(member, path_prefix, sizeof(path_prefix) - 1);
        memcpy(member + sizeof(path_prefix) - 1, at + 1, len - 2);
        is_mapped = parameters && json_get(parameters, member);
        free(member);
        if (!is_mapped)
            return api_wrong(place, err, "nothing fills %.*s: requestParameters has no %s%.*s",
                             (int)len, at, path_prefix, (int)len - 2, at + 1);
    }
    return OK;
}

/* True when {name} is in the URL. */
static bool has_placeholder(const char *url, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = strchr(url, '{'); at; at = strchr(at + 1, '{'))
        if (placeholder_len(at) == len + 2 && memcmp(at + 1, name, len) == 0)
            return true;
    return false;
}

static enum status check_parameters(const struct api_place *place, const char *url,
                                    const struct json *parameters, struct error *err)
{
    const struct json *it;

    for (it = json_first(parameters); it; it = json_next(it)) {
        const char *name = json_key(it) + sizeof(path_prefix) - 1;

        if (strncmp(json_key(it), path_prefix, sizeof(path_prefix) - 1) == 0 &&
            !has_placeholder(url, name))
            return api_wrong(place, err, "there is no {%.64s} in its path, but a parameter for it",
                             name);
    }
    return OK;
}

enum status api_check_url(const struct api_place *place, const char *url,
                          const struct json *parameters, struct error *err)
{
    const char *wrong = check_url(url);
    enum status st;

    if (wrong)
        return api_wrong(place, err, "\"%.200s\": %s", url, wrong);
    st = check_placeholders(place, url, parameters, err);
    return st == OK && parameters ? check_parameters(place, url, parameters, err) : st;
}

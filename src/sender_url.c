/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender_url.c - from an endpoint and a connection's id to the URL that is posted to.
 *
 * What is signed is what is sent: '@' as it is, the id percent-encoded, the host without a port
 * that goes without saying.  That is also how the SDKs of AWS spell it.
 */
#include "sender_internal.h"

#include <string.h>
#include <strings.h>

#include "http_head.h"

#define UNRESERVED "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"

static const struct scheme {
    const char *prefix;
    const char *port; /* that needs not be said */
} schemes[] = {{"https://", ":443"}, {"http://", ":80"}};

static const struct scheme *find_scheme(const char *endpoint)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (strncasecmp(endpoint, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
            return &schemes[i];
    }
    return NULL;
}

/* A name or an address, and a port perhaps; no user and password. */
static bool is_host(const char *text, size_t len)
{
    return len > 0 && text[0] != ':' && strspn(text, UNRESERVED ":[]") >= len;
}

static bool ends_with(const char *text, size_t len, const char *end)
{
    size_t end_len = strlen(end);

    return len >= end_len && memcmp(text + len - end_len, end, end_len) == 0;
}

struct sender_url sender_url_write(struct buf *out, const char *endpoint, const char *connection_id)
{
    const struct scheme *scheme = find_scheme(endpoint);
    const char *host = scheme ? endpoint + strlen(scheme->prefix) : endpoint;
    size_t host_len = strcspn(host, "/");
    const char *path = host + host_len;
    size_t path_len = strlen(path);
    struct sender_url url;

    buf_clear(out);
    /* The rest of what may be in a path, and no query. */
    if (!scheme || !*connection_id || !is_host(host, host_len) ||
        strspn(path, UNRESERVED "%/@:!$&'()*+,;=") != path_len)
        return (struct sender_url){0};
    while (path_len && path[path_len - 1] == '/')
        path_len--;
    if (ends_with(host, host_len, scheme->port))
        host_len -= strlen(scheme->port);
    buf_adds(out, scheme->prefix);
    url.host = out->len;
    buf_add(out, host, host_len);
    url.path = out->len;
    buf_add(out, path, path_len);
    buf_adds(out, "/@connections/");
    url_encode(out, (struct slice){connection_id, strlen(connection_id)}, false);
    if (buf_full(out)) {
        buf_clear(out);
        return (struct sender_url){0};
    }
    return url;
}

bool sender_url_region(const char *host, char out[SIGV4_REGION_BYTES])
{
    static const char service[] = ".execute-api.";
    const char *region = strstr(host, service);
    size_t len;

    if (!region)
        return false;
    region += sizeof(service) - 1;
    len = strcspn(region, ".:");
    if (len == 0 || len >= SIGV4_REGION_BYTES || region[len] != '.')
        return false;
    memcpy(out, region, len);
    out[len] = '\0';
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender_url.c - from an endpoint and a connection's id to the URL that is posted to.
 *
 * What is signed is what is sent: '@' as it is, the id percent-encoded, the host without a port
 * that goes without saying.  That is also how the SDKs of AWS spell it.
 */
#include "sender_internal.h"

#include <stdlib.h>
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

/* The region in a host name of AWS; false when it names none. */
static bool find_region(const char *host, char out[SIGV4_REGION_BYTES])
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

void sender_base_init(struct sender_base *base)
{
    *base = (struct sender_base){0};
    buf_init(&base->text, SIZE_MAX);
}

void sender_base_done(struct sender_base *base)
{
    free(base->endpoint);
    buf_done(&base->text);
}

/* The text stays empty when it is none. */
static void write_base(struct sender_base *base, const char *endpoint)
{
    const struct scheme *scheme = find_scheme(endpoint);
    const char *host = scheme ? endpoint + strlen(scheme->prefix) : endpoint;
    size_t host_len = strcspn(host, "/");
    const char *path = host + host_len;
    size_t path_len = strlen(path);

    /* The rest of what may be in a path, and no query. */
    if (!scheme || !is_host(host, host_len) ||
        strspn(path, UNRESERVED "%/@:!$&'()*+,;=") != path_len)
        return;
    while (path_len && path[path_len - 1] == '/')
        path_len--;
    if (ends_with(host, host_len, scheme->port))
        host_len -= strlen(scheme->port);
    buf_adds(&base->text, scheme->prefix);
    base->url.host = base->text.len;
    buf_add(&base->text, host, host_len);
    base->url.path = base->text.len;
    if (!find_region(buf_str(&base->text) + base->url.host, base->region))
        base->region[0] = '\0';
    buf_add(&base->text, path, path_len);
    buf_adds(&base->text, "/@connections/");
}

void sender_base_set(struct sender_base *base, const char *endpoint)
{
    if (base->endpoint && strcmp(base->endpoint, endpoint) == 0)
        return;
    sender_base_done(base);
    sender_base_init(base);
    base->endpoint = mem_strdup(endpoint);
    write_base(base, endpoint);
}

struct sender_url sender_url_write(struct buf *out, const struct sender_base *base,
                                   const char *connection_id)
{
    buf_clear(out);
    if (!base->url.path || !*connection_id)
        return (struct sender_url){0};
    buf_add(out, base->text.data, base->text.len);
    url_encode(out, (struct slice){connection_id, strlen(connection_id)}, false);
    if (buf_full(out)) {
        buf_clear(out);
        return (struct sender_url){0};
    }
    return base->url;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

enum { HEADER_BYTES = 256 };

static void *alloc_array(size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return mem_alloc(bytes);
}

enum status http_client_setup(struct error *err)
{
    CURLcode rc = curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_alloc, free, mem_realloc,
                                       mem_strdup, alloc_array);

    return rc == CURLE_OK ? OK : fail(err, INTERNAL, "libcurl: %s", curl_easy_strerror(rc));
}

void http_client_done(void)
{
    curl_global_cleanup();
}

/* Returning less than was given makes libcurl stop with CURLE_WRITE_ERROR. */
static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct buf *answer = ctx;

    buf_add(answer, data, size * count);
    return buf_full(answer) ? 0 : size * count;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    const struct http_client_request *request = ctx;

    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return request->is_cancelled && atomic_load(request->is_cancelled);
}

static void set_options(CURL *curl, const struct http_client_request *request, struct buf *answer)
{
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, request->is_local ? "http" : "http,https");
    if (request->is_local)
        curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* http_proxy does not lead to our own port */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "switchboard/" SWITCHBOARD_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, request);
}

/* The list is the caller's to free after the request. */
static struct curl_slist *set_body(CURL *curl, const struct http_client_request *request)
{
    char header[HEADER_BYTES];
    struct curl_slist *headers;

    if (!request->body)
        return NULL;
    snprintf(header, sizeof(header), "Content-Type: %s",
             request->content_type ? request->content_type : "application/json");
    headers = curl_slist_append(NULL, header);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    return headers;
}

enum status http_client_request(const struct http_client_request *request, struct buf *answer,
                                long *http_status, struct error *err)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers;
    enum status st = OK;
    CURLcode rc;

    if (!curl)
        return fail(err, INTERNAL, "libcurl did not start");
    set_options(curl, request, answer);
    headers = set_body(curl, request);
    rc = curl_easy_perform(curl);
    if (buf_full(answer))
        st = fail(err, LIMIT, "%s: the answer is larger than %zu bytes", request->url,
                  answer->limit);
    else if (rc != CURLE_OK)
        st = fail(err, UNAVAILABLE, "%s: %s", request->url, curl_easy_strerror(rc));
    else
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, http_status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return st;
}

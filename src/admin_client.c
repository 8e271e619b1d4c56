/* SPDX-License-Identifier: Apache-2.0 */
#include "admin_client.h"

#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

static void *alloc_array(size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return mem_alloc(bytes);
}

enum status admin_client_setup(struct error *err)
{
    CURLcode rc = curl_global_init_mem(CURL_GLOBAL_NOTHING, mem_alloc, free, mem_realloc,
                                       mem_strdup, alloc_array);

    return rc == CURLE_OK ? OK : fail(err, INTERNAL, "libcurl: %s", curl_easy_strerror(rc));
}

void admin_client_done(void)
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

static void set_options(CURL *curl, const char *url, int64_t timeout_ms, struct buf *answer)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* http_proxy does not lead to our own port */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
}

enum status admin_client_request(const char *url, const char *body, int64_t timeout_ms,
                                 struct buf *answer, long *http_status, struct error *err)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    enum status st = OK;
    CURLcode rc;

    if (!curl)
        return fail(err, INTERNAL, "libcurl did not start");
    set_options(curl, url, timeout_ms, answer);
    if (body) {
        headers = curl_slist_append(NULL, "Content-Type: application/json");
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    rc = curl_easy_perform(curl);
    if (buf_full(answer))
        st = fail(err, LIMIT, "%s: the answer is larger than %zu bytes", url, answer->limit);
    else if (rc != CURLE_OK)
        st = fail(err, UNAVAILABLE, "%s: %s", url, curl_easy_strerror(rc));
    else
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, http_status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return st;
}

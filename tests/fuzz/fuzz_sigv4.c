/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_sigv4.c - signatures of requests: the lines are method, path, query, body and headers.
 *
 * Nobody here has the secret, so nothing may be good but what the corpus has; and what we sign
 * ourselves always is.
 */
#include "http_head.h"
#include "sigv4.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NOW = 1795239120, HEADERS = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sigv4_credentials credentials = {
    "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL};

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static char *next_line(char **rest)
{
    char *line = *rest;
    char *end = strchr(line, '\n');

    if (end)
        *end = '\0';
    *rest = end ? end + 1 : line + strlen(line);
    return line;
}

static size_t split_headers(char *rest, struct sigv4_header headers[HEADERS])
{
    size_t count = 0;

    while (*rest && count < HEADERS) {
        char *line = next_line(&rest);
        char *colon = strchr(line, ':');

        if (!colon || colon == line)
            continue;
        *colon = '\0';
        headers[count++] = (struct sigv4_header){line, colon + 1};
    }
    return count;
}

/* Names that a signer would not take for something else. */
static bool are_plain(const struct sigv4_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const char *name = request->headers[i].name;

        if (strcasecmp(name, "authorization") == 0 || strcasecmp(name, "x-amz-date") == 0 ||
            strcasecmp(name, "date") == 0 || strpbrk(name, "; ,=\t"))
            return false;
    }
    return true;
}

static void check_own(const struct sigv4_request *request)
{
    struct sigv4_header headers[HEADERS + 3];
    struct sigv4_request own = *request;
    struct sigv4_signature signature;

    memcpy(headers, request->headers, request->header_count * sizeof(headers[0]));
    headers[own.header_count++] = (struct sigv4_header){"Host", "example.com"};
    own.headers = headers;
    if (!are_plain(&own) ||
        sigv4_sign(&own, &credentials, "us-east-1", "execute-api", NOW, &signature) != OK)
        return;
    headers[own.header_count++] = (struct sigv4_header){"X-Amz-Date", signature.date};
    headers[own.header_count++] = (struct sigv4_header){"Authorization", signature.authorization};
    require(sigv4_verify(&own, &credentials, "execute-api", NOW, NULL) == SIGV4_GOOD);
    own.method = "FUZZ";
    require(sigv4_verify(&own, &credentials, "execute-api", NOW, NULL) == SIGV4_WRONG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    struct sigv4_header headers[HEADERS];
    char region[SIGV4_REGION_BYTES];
    struct sigv4_request request = {.headers = headers};
    struct error err = {0};
    char *rest = text;
    enum sigv4_result result;

    request.method = next_line(&rest);
    request.path = next_line(&rest);
    request.query = next_line(&rest);
    request.body = next_line(&rest);
    request.body_len = strlen(request.body);
    request.header_count = split_headers(rest, headers);
    result = sigv4_verify(&request, &credentials, "execute-api", NOW, &err);
    require(result == SIGV4_GOOD || err.text[0]);
    require((result == SIGV4_MISSING) == !sigv4_is_signed(&request));
    sigv4_region(&request, region);
    require(strlen(region) < sizeof(region));
    if (strcmp(request.method, "FUZZ") != 0)
        check_own(&request);
    free(text);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "rejection.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "config.h"
#include "http_head.h"

enum { ANSWER_HEAD_BYTES = 1024 };

/* ---- what there is to reject ---- */

static const struct rejection no_upgrade = {
    .status = 426,
    .body = "{\"message\":\"Upgrade Required\"}",
    .extra_headers = "upgrade: websocket\r\n",
};
static const struct rejection wrong_version = {
    .status = 426,
    .body = "{\"message\":\"Upgrade Required\"}",
    .extra_headers = "upgrade: websocket\r\nsec-websocket-version: 13\r\n",
};
static const struct rejection malformed = {
    .status = 400, .is_final = true, .body = "{\"message\":\"Bad Request\"}"};
const struct rejection rejection_too_slow = {
    .status = 408, .is_final = true, .body = "{\"message\":\"Request Timeout\"}"};
static const struct rejection too_long = {
    .status = 414, .is_final = true, .body = "{\"message\":\"URI Too Long\"}"};
const struct rejection rejection_too_large = {
    .status = 431, .is_final = true, .body = "{\"message\":\"Request Header Fields Too Large\"}"};
const struct rejection rejection_too_many = {
    .status = 503, .is_final = true, .body = "{\"message\":\"Service Unavailable\"}"};

/* With aws_strict, in place of malformed: that does not get as far as API Gateway, and this is the
 * page of the load balancer in front of it. */
static const struct rejection malformed_on_aws = {
    .status = 400,
    .is_final = true,
    .server = "awselb/2.0",
    .content_type = "text/html",
    .body = "<html>\r\n"
            "<head><title>400 Bad Request</title></head>\r\n"
            "<body>\r\n"
            "<center><h1>400 Bad Request</h1></center>\r\n"
            "</body>\r\n"
            "</html>\r\n",
};

/* 16 bytes in base64: 22 characters and "==". */
static bool is_key(struct slice key)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    if (key.len != 24 || memcmp(key.data + 22, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!memchr(base64, key.data[i], sizeof(base64) - 1))
            return false;
    return true;
}

static bool is_upgrade(const struct http_head *head)
{
    return slice_is(head->method, "GET") && head->minor_version >= 1 &&
           http_head_has_token(head, "Upgrade", "websocket") &&
           http_head_has_token(head, "Connection", "upgrade");
}

bool head_may_be_followed(const struct http_head *head)
{
    const struct http_header *length = http_head_find(head, "Content-Length");

    return slice_is(head->method, "GET") && head->minor_version >= 1 &&
           (!length || slice_is(length->value, "0")) &&
           http_head_count(head, "Content-Length") <= 1 &&
           http_head_count(head, "Transfer-Encoding") == 0 &&
           !http_head_has_token(head, "Connection", "close");
}

static const struct rejection *find_fault(const struct config *config, const struct http_head *head)
{
    const struct http_header *key = http_head_find(head, "Sec-WebSocket-Key");
    const struct http_header *version = http_head_find(head, "Sec-WebSocket-Version");

    if (http_head_count(head, "Host") > 1 || http_head_count(head, "Authorization") > 1)
        return &malformed; /* which of two would count? */
    if (head->target.len > (size_t)config->max_url_bytes)
        return &too_long;
    if (!is_upgrade(head))
        return &no_upgrade;
    if (!version || !slice_is(version->value, "13") ||
        http_head_count(head, "Sec-WebSocket-Version") > 1)
        return &wrong_version;
    if (!key || !is_key(key->value) || http_head_count(head, "Sec-WebSocket-Key") > 1 ||
        http_head_count(head, "Host") != 1)
        return &malformed;
    return NULL;
}

const struct rejection *rejection_of_malformed(const struct config *config)
{
    return config_is_on(config->aws_strict) ? &malformed_on_aws : &malformed;
}

const struct rejection *rejection_of_head(const struct config *config, const struct http_head *head)
{
    const struct rejection *fault = find_fault(config, head);

    return fault == &malformed ? rejection_of_malformed(config) : fault;
}

/* ---- writing it ---- */

static const char *reason_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };

    for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Rejected"; /* a status that a route made up */
}

/* RFC 9110, section 5.6.7. */
void http_date_write(char date[HTTP_DATE_BYTES])
{
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(date, HTTP_DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &utc);
}

static const char json_type[] = "application/json; charset=UTF-8";

/* As API Gateway spells it. */
void rejection_write(const struct rejection *rejection, bool keeps_open, struct buf *out)
{
    const char *body = rejection->body ? rejection->body : "";
    const char *extra = rejection->extra_headers ? rejection->extra_headers : "";
    char date[HTTP_DATE_BYTES];

    http_date_write(date);
    buf_init(out, ANSWER_HEAD_BYTES + strlen(body));
    buf_addf(out, "HTTP/1.1 %d %s\r\n", rejection->status, reason_phrase(rejection->status));
    if (rejection->server)
        buf_addf(out, "server: %s\r\n", rejection->server);
    buf_addf(out,
             "date: %s\r\n"
             "content-type: %s\r\n"
             "content-length: %zu\r\n"
             "connection: %s%s\r\n",
             date, rejection->content_type ? rejection->content_type : json_type, strlen(body),
             rejection->status == 426 ? "upgrade, " : "",
             keeps_open && !rejection->is_final ? "keep-alive" : "close");
    if (rejection->request_id)
        buf_addf(out, "x-amz-apigw-id: %s\r\n", rejection->request_id);
    buf_addf(out, "%s\r\n", extra);
    buf_adds(out, body);
    assert(!buf_full(out));
}

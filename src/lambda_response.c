/* SPDX-License-Identifier: Apache-2.0 */
#include "lambda_response.h"

#include "base64url.h"
#include "json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STATUS_DIGITS = 3, STATUS_LEAST = 200, STATUS_MOST = 599 };

static const char subprotocol_header[] = "Sec-WebSocket-Protocol";

static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

/* NULL for what is absent or null. */
static const struct json *get_present(const struct json *object, const char *key)
{
    const struct json *member = json_get(object, key);

    return member && json_type(member) != JSON_NULL ? member : NULL;
}

/* ---- statusCode ---- */

/* A final status of HTTP: a status line with 1xx would be no answer to a handshake. */
static bool take_status(const struct json *object, int *out)
{
    const struct json *member = get_present(object, "statusCode");
    const char *text = json_text(member);
    int64_t status = 0;

    if (text) {
        if (strlen(text) != STATUS_DIGITS || strspn(text, "0123456789") != STATUS_DIGITS)
            return false;
        status = strtol(text, NULL, 10);
    } else if (json_get_int(object, "statusCode", &status, NULL) != OK) {
        return false;
    }
    if (status < STATUS_LEAST || status > STATUS_MOST)
        return false;
    *out = (int)status;
    return true;
}

/* ---- headers ---- */

/* The text without blanks around it when it is a token (RFC 9110, section 5.6.2): it goes into the
 * head of the handshake's answer, where nothing else may follow it. */
static char *take_token(const char *text)
{
    size_t len;

    text = skip_blanks(text);
    len = strcspn(text, " \t\r\n");
    if (len == 0 || *skip_blanks(text + len) != '\0')
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr("!#$%&'*+-.^_`|~", text[i]))
            return NULL;
    }
    return mem_strndup(text, len);
}

/* The text of a header, or the first of its values. */
static const char *find_subprotocol(const struct json *headers)
{
    const char *found = NULL;

    for (const struct json *it = headers ? json_first(headers) : NULL; it; it = json_next(it)) {
        const struct json *value = json_type(it) == JSON_ARRAY ? json_at(it, 0) : it;

        if (strcasecmp(json_key(it), subprotocol_header) == 0 && json_text(value))
            found = json_text(value);
    }
    return found;
}

/* What multiValueHeaders says counts for more, as with other proxy integrations. */
static bool take_headers(const struct json *object, char **subprotocol)
{
    const struct json *single = get_present(object, "headers");
    const struct json *multi = get_present(object, "multiValueHeaders");
    const char *found;

    if ((single && json_type(single) != JSON_OBJECT) || (multi && json_type(multi) != JSON_OBJECT))
        return false;
    found = find_subprotocol(multi);
    if (!found)
        found = find_subprotocol(single);
    *subprotocol = found ? take_token(found) : NULL;
    return true;
}

/* ---- body ---- */

static bool take_body(const struct json *object, struct lambda_response *out)
{
    const struct json *body = get_present(object, "body");
    const struct json *is_base64 = get_present(object, "isBase64Encoded");
    unsigned char *decoded;
    struct buf text;
    size_t len;

    if ((body && json_type(body) != JSON_STRING) ||
        (is_base64 && json_type(is_base64) != JSON_BOOL))
        return false;
    if (!body)
        return true;
    if (!json_is_true(is_base64)) {
        out->body_len = strlen(json_text(body));
        out->body = mem_strndup(json_text(body), out->body_len);
        return true;
    }
    decoded = base64_decode(json_text(body), strlen(json_text(body)), &len);
    if (!decoded)
        return false;
    buf_init(&text, SIZE_MAX);
    buf_add_utf8(&text, (const char *)decoded, len); /* a frame is text */
    free(decoded);
    out->body_len = text.len;
    out->body = buf_take(&text);
    return true;
}

/* ---- texts that are no UTF-8 ---- */

enum { ESCAPE_LEN = 6 }; /* \uXXXX */

/* -1 when no such escape stands there. */
static long escaped_code(const char *at, size_t len)
{
    char digits[5] = "";

    if (len < ESCAPE_LEN || at[0] != '\\' || at[1] != 'u')
        return -1;
    memcpy(digits, at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/* Returns the length of the escape at the backslash; what is no character becomes U+FFFD. */
static size_t mend_escape(char *at, size_t len)
{
    long code = escaped_code(at, len);
    bool is_high = code >= 0xD800 && code <= 0xDBFF;
    long low = is_high ? escaped_code(at + ESCAPE_LEN, len - ESCAPE_LEN) : -1;

    if (low >= 0xDC00 && low <= 0xDFFF)
        return (size_t)2 * ESCAPE_LEN;
    if (code == 0 || (code >= 0xD800 && code <= 0xDFFF))
        memcpy(at + 2, "fffd", 4);
    return code < 0 ? 2 : ESCAPE_LEN;
}

/* JSON of functions may have NUL and half of a surrogate pair by escape: JavaScript's has.  Ours is
 * stricter; U+FFFD takes their place then. */
static enum status parse_mended(const char *text, size_t len, struct json **out)
{
    char *copy = mem_strndup(text, len);
    enum status status;

    for (size_t at = 0; at < len;)
        at += copy[at] == '\\' ? mend_escape(copy + at, len - at) : 1;
    status = json_parse(copy, len, out, NULL);
    free(copy);
    return status;
}

/* ---- the whole ---- */

static bool take_proxy(const struct json *object, struct lambda_response *out)
{
    return take_status(object, &out->status) && take_headers(object, &out->subprotocol) &&
           take_body(object, out);
}

static enum lambda_response_kind take(const struct json *json, bool is_error,
                                      struct lambda_response *out)
{
    const char *message = json_text(json_get(json, "errorMessage"));

    /* Emulators of Lambda do not all say that it failed. */
    if (is_error || (message && !json_get(json, "statusCode"))) {
        out->error_message = mem_strdup(message);
        return LAMBDA_RESPONSE_ERROR;
    }
    if (json_type(json) == JSON_NULL)
        return LAMBDA_RESPONSE_NONE;
    if (json_type(json) == JSON_OBJECT && take_proxy(json, out))
        return LAMBDA_RESPONSE_PROXY;
    lambda_response_done(out);
    return LAMBDA_RESPONSE_MALFORMED;
}

static bool is_blank(const char *text, size_t len)
{
    while (len && strchr(" \t\r\n", text[len - 1]) && text[len - 1] != '\0')
        len--;
    return len == 0;
}

void lambda_response_parse(const char *text, size_t len, bool is_error, struct lambda_response *out)
{
    struct json *json = NULL;

    *out = (struct lambda_response){.kind = LAMBDA_RESPONSE_NONE};
    if (json_parse(text, len, &json, NULL) == OK || parse_mended(text, len, &json) == OK)
        out->kind = take(json, is_error, out);
    else if (is_error)
        out->kind = LAMBDA_RESPONSE_ERROR;
    else if (!is_blank(text, len))
        out->kind = LAMBDA_RESPONSE_MALFORMED;
    json_free(json);
}

void lambda_response_done(struct lambda_response *response)
{
    free(response->body);
    free(response->subprotocol);
    free(response->error_message);
    *response = (struct lambda_response){.kind = response->kind};
}

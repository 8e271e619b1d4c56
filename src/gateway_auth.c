/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_auth.h"

#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "json.h"
#include "log.h"

enum { AUTHORIZER_VALUE_BYTES = 64 * 1024 };

/* Past it a token counts as one that never expires: the year 9999. */
static const double latest_s = 253402300799.0;

/* ---- finding the token ---- */

static char *decode(struct slice raw)
{
    char *text = mem_alloc(raw.len + 1);

    if (url_decode(raw, true, text) >= 0)
        return text;
    free(text);
    return NULL;
}

static char *take_unless_empty(char *text)
{
    if (text && *text)
        return text;
    free(text);
    return NULL;
}

static char *find_in_query(const struct http_head *head)
{
    struct slice rest = head->query;
    struct slice name, value;
    char *token = NULL;

    while (rest.data && query_next(&rest, &name, &value)) {
        char *decoded = decode(name);

        if (decoded && strcmp(decoded, "token") == 0) {
            free(token);
            token = decode(value);
        }
        free(decoded);
    }
    return take_unless_empty(token);
}

static char *find_in_header(const struct http_head *head)
{
    static const char scheme[] = "Bearer ";
    const size_t len = sizeof(scheme) - 1;
    const struct http_header *header = http_head_find(head, "Authorization");
    struct slice value;

    if (!header || header->value.len <= len ||
        !slice_is_nocase((struct slice){header->value.data, len}, scheme))
        return NULL;
    value = (struct slice){header->value.data + len, header->value.len - len};
    while (value.len > 0 && *value.data == ' ')
        value = (struct slice){value.data + 1, value.len - 1};
    return take_unless_empty(slice_dup(value));
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (*s.data == ' ' || *s.data == '\t'))
        s = (struct slice){s.data + 1, s.len - 1};
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* False at the end of the list. */
static bool next_item(struct slice *rest, struct slice *item)
{
    const char *comma;
    size_t len;

    if (rest->len == 0)
        return false;
    comma = memchr(rest->data, ',', rest->len);
    len = comma ? (size_t)(comma - rest->data) : rest->len;
    *item = trim((struct slice){rest->data, len});
    len += comma ? 1 : 0;
    *rest = (struct slice){rest->data + len, rest->len - len};
    return true;
}

/* The item behind "bearer", in any line of the header (RFC 6455, section 4.1, allows several). */
static char *find_in_subprotocols(const struct http_head *head)
{
    bool is_behind_bearer = false;

    for (size_t i = 0; i < head->header_count; i++) {
        struct slice rest = head->headers[i].value;
        struct slice item;

        if (!slice_is_nocase(head->headers[i].name, "Sec-WebSocket-Protocol"))
            continue;
        while (next_item(&rest, &item)) {
            if (is_behind_bearer)
                return take_unless_empty(slice_dup(item));
            is_behind_bearer = slice_is(item, "bearer");
        }
    }
    return NULL;
}

void gateway_find_token(const struct http_head *head, struct gateway_token *out)
{
    char *offered = find_in_subprotocols(head);

    out->offers_bearer = offered != NULL;
    out->text = find_in_query(head);
    if (!out->text)
        out->text = find_in_header(head);
    if (!out->text) {
        out->text = offered;
        offered = NULL;
    }
    free(offered);
}

/* ---- claims ---- */

static void add_value(struct buf *out, const char *key, const struct json *value)
{
    struct buf text;

    switch (json_type(value)) {
    case JSON_NULL:
        break;
    case JSON_STRING:
        json_str(out, key, json_text(value));
        break;
    case JSON_BOOL:
    case JSON_NUMBER:
    case JSON_ARRAY:
    case JSON_OBJECT:
        buf_init(&text, AUTHORIZER_VALUE_BYTES);
        json_write(&text, NULL, value);
        json_str(out, key, buf_str(&text));
        buf_done(&text);
        break;
    }
}

static const struct json *find_principal(const struct json *claims)
{
    static const char *const names[] = {"sub", "userId", "principalId"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct json *value = json_get(claims, names[i]);

        if (value && json_type(value) != JSON_NULL)
            return value;
    }
    return NULL;
}

static int64_t find_expiry(const struct json *claims)
{
    const struct json *exp = json_get(claims, "exp");

    if (!exp || json_type(exp) != JSON_NUMBER || json_number(exp) > latest_s ||
        json_number(exp) < 0)
        return 0;
    return (int64_t)json_number(exp);
}

int64_t gateway_write_authorizer(const char *claims, size_t len, struct buf *out)
{
    const struct json *principal, *claim;
    struct json *json = NULL;
    int64_t expires_s;

    json_open(out, NULL, '{');
    if (json_parse(claims, len, &json, NULL) != OK || json_type(json) != JSON_OBJECT) {
        json_free(json);
        json_close(out, '}');
        return 0;
    }
    principal = find_principal(json);
    if (principal)
        add_value(out, "principalId", principal);
    for (claim = json_first(json); claim; claim = json_next(claim)) {
        /* Of a name that is there twice the last one counts, as everywhere. */
        if (strcmp(json_key(claim), "principalId") != 0 && json_get(json, json_key(claim)) == claim)
            add_value(out, json_key(claim), claim);
    }
    json_close(out, '}');
    expires_s = find_expiry(json);
    json_free(json);
    return expires_s;
}

enum status gateway_verify_message(struct auth *auth, const char *text, size_t len,
                                   struct buf *claims)
{
    struct json *json = NULL;
    struct error err = {0};
    const char *token = NULL;
    enum status st = DENIED;

    if (!memmem(text, len, "\"token\"", 7) || json_parse(text, len, &json, NULL) != OK)
        return DENIED;
    if (json_type(json) == JSON_OBJECT && json_opt_str(json, "token", &token, NULL) == OK && token)
        st = auth_verify(auth, token, clock_unix_ms() / 1000, claims, &err);
    if (token && st == DENIED)
        log_debug("token.refused", "error=%s", log_quote(err.text));
    json_free(json);
    return st;
}

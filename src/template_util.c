/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_util.c - what can be called on $util and $input.
 */
#include "template_internal.h"

#include "base64url.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES_PER_JSON_BYTE = 40 }; /* of a tree */

/* ---- $util ---- */

typedef enum status convert_fn(struct eval *eval, struct slice text, struct buf *out);

/* A text from a text; nothing from nothing. */
static enum status convert(struct eval *eval, const struct value *arg, convert_fn *fn,
                           struct value *out)
{
    struct slice text;
    struct buf converted;
    enum status st = value_text(eval, arg, &text);

    if (st)
        return st;
    if (value_is_nothing(arg)) {
        *out = *arg;
        return OK;
    }
    buf_init(&converted, eval_room(eval));
    st = fn(eval, text, &converted);
    if (!st)
        return eval_take(eval, &converted, out);
    buf_done(&converted);
    return st;
}

/* UTF-16, as JavaScript has it. */
static void add_unicode(struct buf *out, uint32_t code)
{
    if (code > 0xFFFF) {
        buf_addf(out, "\\u%04X", 0xD800 + ((code - 0x10000) >> 10));
        code = 0xDC00 + ((code - 0x10000) & 0x3FF);
    }
    buf_addf(out, "\\u%04X", code);
}

/* The character at text, of len bytes; len 0: there is none. */
static uint32_t decode(const char *text, size_t len)
{
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = (unsigned char)text[0] & masks[len];

    if (len == 0)
        return 0xFFFD;
    for (size_t i = 1; i < len; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3F);
    return code;
}

/* Quotes of both kinds, backslash, slash, control characters, and all that is not ASCII. */
static enum status escape(struct eval *eval, struct slice text, struct buf *out)
{
    static const char letters[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

    (void)eval;
    for (size_t i = 0; i < text.len;) {
        unsigned char c = (unsigned char)text.data[i];
        size_t len = utf8_char_len(text.data + i, text.len - i);

        if (c && strchr("'\"\\/", c))
            buf_addf(out, "\\%c", c);
        else if (c < 32 && letters[c])
            buf_addf(out, "\\%c", letters[c]);
        else if (c >= 32 && c < 0x80)
            buf_addc(out, (char)c);
        else
            add_unicode(out, decode(text.data + i, len));
        i += len ? len : 1;
    }
    return OK;
}

/* application/x-www-form-urlencoded, as Java's URLEncoder does it. */
static enum status form_encode(struct eval *eval, struct slice text, struct buf *out)
{
    (void)eval;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr(".-*_", c)))
            buf_addc(out, (char)c);
        else if (c == ' ')
            buf_addc(out, '+');
        else
            buf_addf(out, "%%%02X", c);
    }
    return OK;
}

static enum status url_decode_text(struct eval *eval, struct slice text, struct buf *out)
{
    char *at = buf_reserve(out, text.len + 1); /* url_decode ends in NUL */
    long len = 0;

    if (!at)
        return OK; /* and full */
    len = url_decode(text, true, at);
    if (len < 0)
        return eval_fail(eval, INVALID, "urlDecode: this is not URL-encoded");
    buf_commit(out, (size_t)len);
    return OK;
}

static enum status encode_base64(struct eval *eval, struct slice text, struct buf *out)
{
    (void)eval;
    base64_add(out, text.data, text.len);
    return OK;
}

static enum status decode_base64(struct eval *eval, struct slice text, struct buf *out)
{
    size_t len;
    unsigned char *bytes = base64_decode(text.data, text.len, &len);

    if (!bytes)
        return eval_fail(eval, INVALID, "base64Decode: this is not base64");
    buf_add(out, bytes, len);
    free(bytes);
    return OK;
}

static enum status util_escape(struct eval *eval, const struct value *target,
                               const struct value *args, struct value *out)
{
    (void)target;
    return convert(eval, &args[0], escape, out);
}

static enum status util_url_encode(struct eval *eval, const struct value *target,
                                   const struct value *args, struct value *out)
{
    (void)target;
    return convert(eval, &args[0], form_encode, out);
}

static enum status util_url_decode(struct eval *eval, const struct value *target,
                                   const struct value *args, struct value *out)
{
    (void)target;
    return convert(eval, &args[0], url_decode_text, out);
}

static enum status util_base64_encode(struct eval *eval, const struct value *target,
                                      const struct value *args, struct value *out)
{
    (void)target;
    return convert(eval, &args[0], encode_base64, out);
}

static enum status util_base64_decode(struct eval *eval, const struct value *target,
                                      const struct value *args, struct value *out)
{
    (void)target;
    return convert(eval, &args[0], decode_base64, out);
}

static enum status util_parse_json(struct eval *eval, const struct value *target,
                                   const struct value *args, struct value *out)
{
    struct json *tree = NULL;
    struct error problem = {.text = ""};
    struct slice text;
    enum status st = value_text(eval, &args[0], &text);

    (void)target;
    if (st)
        return st;
    if (value_is_nothing(&args[0])) {
        *out = args[0];
        return OK;
    }
    st = eval_charge(eval, text.len * BYTES_PER_JSON_BYTE);
    if (st)
        return st;
    if (json_parse(text.data, text.len, &tree, &problem))
        return eval_fail(eval, INVALID, "parseJson: %s", problem.text);
    *out = value_of_json(tree);
    return eval_own_tree(eval, tree);
}

/* ---- $input ---- */

/* The path of the call: compiled before, or now.  *owned is to be freed. */
static enum status get_path(struct eval *eval, const struct value *arg,
                            const struct json_path **path, struct json_path **owned)
{
    struct error problem = {.text = ""};
    struct slice text;
    enum status st;

    *owned = NULL;
    *path = eval->step->path;
    if (*path)
        return OK;
    st = value_text(eval, arg, &text);
    if (st)
        return st;
    if (template_compile_path(text, owned, &problem))
        return eval_fail(eval, INVALID, "%s", problem.text);
    *path = *owned;
    return OK;
}

static enum status input_json(struct eval *eval, const struct value *target,
                              const struct value *args, struct value *out)
{
    const struct json_path *path;
    struct json_path *owned;
    struct buf text;
    enum status st = get_path(eval, &args[0], &path, &owned);

    (void)target;
    if (!st)
        st = eval_spend(eval, eval->values->body_len / BYTES_PER_STEP);
    if (!st) {
        buf_init(&text, eval_room(eval));
        json_path_json(path, event_values_json(eval->values), &text);
        st = eval_take(eval, &text, out);
    }
    json_path_free(owned);
    return st;
}

struct found {
    struct eval *eval;
    struct list *list;
    enum status status;
};

static void on_found(void *ctx, const struct json *json)
{
    struct found *found = ctx;
    struct value value = value_of_json(json);

    if (!found->status)
        found->status = list_add(found->eval, found->list, &value);
}

static enum status find_values(struct eval *eval, const struct json_path *path, struct value *out)
{
    const struct json *body = event_values_json(eval->values);
    struct found found = {.eval = eval};
    struct value list;
    enum status st;

    if (json_path_is_single(path)) {
        *out = value_of_json(json_path_find(path, body));
        return OK;
    }
    st = list_create(eval, &list);
    if (st)
        return st;
    found.list = list.list;
    if (json_path_each(path, body, on_found, &found) > 0)
        *out = list;
    return found.status;
}

static enum status input_path(struct eval *eval, const struct value *target,
                              const struct value *args, struct value *out)
{
    const struct json_path *path;
    struct json_path *owned;
    enum status st = get_path(eval, &args[0], &path, &owned);

    (void)target;
    if (!st)
        st = eval_spend(eval, eval->values->body_len / BYTES_PER_STEP);
    if (!st)
        st = find_values(eval, path, out);
    json_path_free(owned);
    return st;
}

/* The query goes before the headers; there are no path parameters. */
static enum status input_param(struct eval *eval, const struct value *target,
                               const struct value *args, struct value *out)
{
    struct slice name;
    struct buf text;
    enum status st = value_text(eval, &args[0], &name);

    (void)target;
    if (!st)
        st = eval_spend(eval, HTTP_MAX_HEADERS / MEMBERS_PER_STEP);
    if (!st && eval->values->head)
        st = eval_spend(eval, eval->values->head->query.len / BYTES_PER_STEP);
    if (st)
        return st;
    buf_init(&text, eval_room(eval));
    if (event_query_get(eval->values, name, &text) || event_header_get(eval->values, name, &text))
        return eval_take(eval, &text, out);
    buf_done(&text);
    return OK;
}

static enum status query_text(struct eval *eval, struct slice raw, struct value *out)
{
    struct buf text;

    buf_init(&text, eval_room(eval));
    query_decode(raw, &text);
    return eval_take(eval, &text, out);
}

static enum status query_map(struct eval *eval, struct value *out)
{
    const struct http_head *head = eval->values->head;
    struct slice rest = head ? head->query : (struct slice){0};
    struct slice name;
    struct slice value;
    enum status st = map_create(eval, out);

    while (!st && query_next(&rest, &name, &value)) {
        struct value key;
        struct value decoded;

        st = query_text(eval, name, &key);
        if (!st)
            st = query_text(eval, value, &decoded);
        if (!st)
            st = map_put(eval, out->map, key.text, &decoded);
    }
    return st;
}

static enum status header_map(struct eval *eval, struct value *out)
{
    const struct http_head *head = eval->values->head;
    enum status st = map_create(eval, out);

    for (size_t i = 0; !st && head && i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        struct value value = value_of_text(header->value.data, header->value.len);

        st = map_put(eval, out->map, header->name, &value);
    }
    return st;
}

static enum status input_params(struct eval *eval, const struct value *target,
                                const struct value *args, struct value *out)
{
    struct value path;
    struct value query;
    struct value headers;
    enum status st = map_create(eval, out);

    (void)target;
    (void)args;
    if (!st)
        st = map_create(eval, &path);
    if (!st)
        st = query_map(eval, &query);
    if (!st)
        st = header_map(eval, &headers);
    if (!st)
        st = map_put(eval, out->map, (struct slice){"path", 4}, &path);
    if (!st)
        st = map_put(eval, out->map, (struct slice){"querystring", 11}, &query);
    if (!st)
        st = map_put(eval, out->map, (struct slice){"header", 6}, &headers);
    return st ? st : eval_spend(eval, HTTP_MAX_HEADERS);
}

/* ---- by name ---- */

static const struct method util_methods[] = {
    {"escapeJavaScript", 1, util_escape},    {"parseJson", 1, util_parse_json},
    {"urlEncode", 1, util_url_encode},       {"urlDecode", 1, util_url_decode},
    {"base64Encode", 1, util_base64_encode}, {"base64Decode", 1, util_base64_decode},
};

static const struct method input_methods[] = {
    {"json", 1, input_json},
    {"path", 1, input_path},
    {"params", 1, input_param},
    {"params", 0, input_params},
};

const struct method *find_util_method(struct slice name, size_t arg_count)
{
    return find_method(util_methods, ARRAY_LEN(util_methods), name, arg_count);
}

const struct method *find_input_method(struct slice name, size_t arg_count)
{
    return find_method(input_methods, ARRAY_LEN(input_methods), name, arg_count);
}

bool is_path_method(const struct method *method)
{
    return method->fn == input_json || method->fn == input_path;
}

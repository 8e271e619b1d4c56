/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_scan.c - is it JSON, and one member of it, without building anything.
 */
#include "json_scan.h"

#include "json.h"

#include <string.h>

struct scan {
    const char *at;
    const char *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
}

static bool skip_char(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool skip_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
        return false;
    s->at += len;
    return true;
}

static bool skip_digits(struct scan *s)
{
    const char *start = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > start;
}

/* cJSON copies a number into 63 bytes; longer ones are refused here, with a position. */
enum { NUMBER_BYTES = 63 };

static bool skip_number(struct scan *s)
{
    const char *start = s->at;

    skip_char(s, '-');
    if (!skip_char(s, '0') && !skip_digits(s))
        return false;
    if (skip_char(s, '.') && !skip_digits(s))
        return false;
    if (skip_char(s, 'e') || skip_char(s, 'E')) {
        if (!skip_char(s, '+'))
            skip_char(s, '-');
        if (!skip_digits(s))
            return false;
    }
    return s->at - start <= NUMBER_BYTES;
}

/* The four digits of a \u escape; -1 when they are none. */
static long scan_hex4(struct scan *s)
{
    long value = 0;

    if (s->end - s->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;

        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* Behind the backslash.  No \u0000 and no half of a surrogate pair: neither is text for SQL. */
static bool skip_escape(struct scan *s)
{
    long code;

    if (s->at == s->end)
        return false;
    if (*s->at != 'u')
        return *s->at && strchr("\"\\/bfnrt", *s->at++);
    s->at++;
    code = scan_hex4(s);
    if (code <= 0 || (code >= 0xDC00 && code <= 0xDFFF))
        return false;
    if (code < 0xD800 || code > 0xDBFF)
        return true;
    if (!skip_word(s, "\\u"))
        return false;
    code = scan_hex4(s);
    return code >= 0xDC00 && code <= 0xDFFF;
}

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* True when all eight bytes are plain: none below 0x20, no quote, no backslash. */
static bool are_plain(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101U;
    const uint64_t tops = 0x8080808080808080U;
    uint64_t word;
    uint64_t quotes;
    uint64_t slashes;

    memcpy(&word, bytes, sizeof(word));
    quotes = word ^ (ones * '"');
    slashes = word ^ (ones * '\\');
    return ((((word - ones * 0x20) & ~word) | ((quotes - ones) & ~quotes) |
             ((slashes - ones) & ~slashes)) &
            tops) == 0;
}

/* From `at` to the first byte that is not plain, or the end. */
static const char *skip_plain(const char *at, const char *end)
{
    while (end - at >= 8 && are_plain(at))
        at += 8;
    while (at < end && is_plain(*at))
        at++;
    return at;
}

/* Whether it has escapes is of use to who wants the text without decoding it. */
static bool skip_string(struct scan *s, bool *has_escapes)
{
    if (!skip_char(s, '"'))
        return false;
    for (;;) {
        s->at = skip_plain(s->at, s->end);
        if (s->at == s->end)
            return false;
        if (*s->at == '"') {
            s->at++;
            return true;
        }
        if (*s->at++ != '\\' || !skip_escape(s))
            return false;
        *has_escapes = true;
    }
}

static bool skip_scalar(struct scan *s)
{
    bool has_escapes;

    if (s->at == s->end)
        return false;
    switch (*s->at) {
    case '"':
        return skip_string(s, &has_escapes);
    case 't':
        return skip_word(s, "true");
    case 'f':
        return skip_word(s, "false");
    case 'n':
        return skip_word(s, "null");
    default:
        return skip_number(s);
    }
}

/* Behind an opening brace or a comma in an object: the name and the colon. */
static bool skip_name(struct scan *s)
{
    bool has_escapes;

    skip_blanks(s);
    if (!skip_string(s, &has_escapes))
        return false;
    skip_blanks(s);
    return skip_char(s, ':');
}

/* Well below cJSON's own limit (1000), so that ours decides. */
enum { MAX_DEPTH = 500 };

struct nest {
    size_t depth; /* open brackets */
    char closers[MAX_DEPTH];
};

/* From where a value begins to behind the first scalar or empty bracket pair in it. */
static bool skip_to_scalar(struct scan *s, struct nest *nest)
{
    for (;;) {
        char closer;

        skip_blanks(s);
        if (s->at == s->end || (*s->at != '{' && *s->at != '['))
            return skip_scalar(s);
        if (nest->depth == MAX_DEPTH)
            return false;
        closer = *s->at++ == '{' ? '}' : ']';
        skip_blanks(s);
        if (skip_char(s, closer))
            return true;
        nest->closers[nest->depth++] = closer;
        if (closer == '}' && !skip_name(s))
            return false;
    }
}

/* One value with all that is in it; depth: how many brackets are open around it.  A loop and not a
 * recursion: this runs for every message. */
static bool skip_value(struct scan *s, size_t depth)
{
    struct nest nest;

    nest.depth = depth;
    do {
        if (!skip_to_scalar(s, &nest))
            return false;
        for (; nest.depth > depth; nest.depth--) {
            skip_blanks(s);
            if (!skip_char(s, nest.closers[nest.depth - 1]))
                break;
        }
        if (nest.depth == depth)
            return true;
    } while (skip_char(s, ',') && (nest.closers[nest.depth - 1] == ']' || skip_name(s)));
    return false;
}

bool json_scan(const char *text, size_t len, size_t *offset)
{
    struct scan s = {text, text + len};
    bool is_value = skip_value(&s, 0);

    skip_blanks(&s);
    *offset = (size_t)(s.at - text);
    return is_value && s.at == s.end;
}

/* ---- one member without a tree ---- */

struct lookup {
    const char *const *path;
    size_t path_len;
    const char *value; /* NULL: none so far */
    bool needs_tree;
};

static bool is_name(const char *text, size_t len, const char *name)
{
    /* Most differ in the first byte (a NUL for the empty name, which no text has). */
    return (len == 0 || *text == *name) && strncmp(text, name, len) == 0 && name[len] == '\0';
}

static bool look_into(struct scan *s, struct lookup *lookup, size_t depth);

/* One member of the object whose path so far matched `depth` names.  A later duplicate undoes what
 * an earlier one had found. */
static bool look_at_member(struct scan *s, struct lookup *lookup, size_t depth)
{
    const char *name;
    size_t len;

    skip_blanks(s);
    name = s->at + 1;
    if (!skip_string(s, &lookup->needs_tree))
        return false;
    len = (size_t)(s->at - 1 - name);
    skip_blanks(s);
    if (!skip_char(s, ':'))
        return false;
    skip_blanks(s);
    if (is_name(name, len, lookup->path[depth])) {
        bool is_last = depth + 1 == lookup->path_len;

        lookup->value = is_last ? s->at : NULL;
        if (!is_last && s->at < s->end && *s->at == '{')
            return look_into(s, lookup, depth + 1);
    }
    return skip_value(s, depth + 1);
}

/* The object at s; goes no deeper than the path is long. */
static bool look_into(struct scan *s, struct lookup *lookup, size_t depth)
{
    s->at++;
    skip_blanks(s);
    if (skip_char(s, '}'))
        return true;
    do {
        if (!look_at_member(s, lookup, depth))
            return false;
        skip_blanks(s);
    } while (skip_char(s, ','));
    return skip_char(s, '}');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A double holds it exactly and prints as the same digits. */
static bool is_short_integer(const char *at, const char *end)
{
    if (end - at > 15)
        return false;
    while (at < end && is_digit(*at))
        at++;
    return at == end;
}

/* Text that a tree would give back unchanged: a string without escapes, a word, a short integer. */
static enum json_lookup plain_value(const char *at, const char *end, const char **value,
                                    size_t *value_len)
{
    struct scan s = {at, end};
    bool has_escapes = false;

    if (*at == '{' || *at == '[')
        return JSON_LOOKUP_TREE;
    if (*at == '"') {
        if (!skip_string(&s, &has_escapes) || has_escapes)
            return JSON_LOOKUP_TREE;
        *value = at + 1;
        *value_len = (size_t)(s.at - at) - 2;
        return JSON_LOOKUP_PLAIN;
    }
    if (!skip_scalar(&s) || *at == '-' || (is_digit(*at) && !is_short_integer(at, s.at)))
        return JSON_LOOKUP_TREE;
    *value = at;
    *value_len = (size_t)(s.at - at);
    return JSON_LOOKUP_PLAIN;
}

enum json_lookup json_lookup(const char *text, size_t len, const char *const *path, size_t path_len,
                             const char **value, size_t *value_len)
{
    struct scan s = {text, text + len};
    struct lookup lookup = {path, path_len, NULL, false};

    if (path_len == 0 || path_len > JSON_LOOKUP_DEPTH)
        return JSON_LOOKUP_TREE;
    skip_blanks(&s);
    if (s.at == s.end || *s.at != '{')
        return JSON_LOOKUP_TREE;
    if (!look_into(&s, &lookup, 0))
        return JSON_LOOKUP_INVALID;
    skip_blanks(&s);
    if (s.at != s.end || !utf8_is_valid(text, len))
        return JSON_LOOKUP_INVALID;
    if (lookup.needs_tree) /* a name with escapes could be one of the path's */
        return JSON_LOOKUP_TREE;
    if (!lookup.value)
        return JSON_LOOKUP_MISSING;
    return plain_value(lookup.value, s.end, value, value_len);
}

bool utf8_is_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint64_t word;
        size_t n;

        if (len - i >= sizeof(word)) {
            memcpy(&word, text + i, sizeof(word));
            if (!(word & 0x8080808080808080U)) {
                i += sizeof(word);
                continue;
            }
        }
        n = utf8_char_len(text + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

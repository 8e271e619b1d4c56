/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_pattern.c - regular expressions on the status of an answer.
 *
 * Descriptions are written for Java's expressions and run on POSIX's.  Only what means the same in
 * both is let through (and \d, which is rewritten).  What is repeated is one character or list, and
 * bounds are single digits: compiling loops in loops takes the C library minutes.
 */
#include "api_internal.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERN_BYTES = 128, MAX_DEPTH = 8 };

/* The translation under way. */
struct translation {
    const char *at;
    const char *end;
    struct buf out;
    int depth;          /* of parentheses */
    bool is_in_list;    /* between [ and ] */
    bool is_repeatable; /* what stands in front is one character or list */
};

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void add_atom(struct translation *t, const char *text, size_t len)
{
    buf_add(&t->out, text, len);
    t->is_repeatable = true;
}

/* Behind a backslash.  What is wrong, or NULL. */
static const char *take_escape(struct translation *t)
{
    char escaped[2] = {'\\', '\0'};

    if (t->at == t->end)
        return "it ends in a backslash";
    escaped[1] = *t->at++;
    if (escaped[1] == 'd' && t->is_in_list)
        buf_adds(&t->out, "0-9");
    else if (escaped[1] == 'd')
        add_atom(t, "[0-9]", 5);
    else if (t->is_in_list || is_alnum(escaped[1]))
        return "the only escapes are \\d and, outside of [], punctuation";
    else
        add_atom(t, escaped, sizeof(escaped));
    return NULL;
}

static const char *take_in_list(struct translation *t, char c)
{
    if (c == '[')
        return "a [ inside of [] means different things to different programs";
    buf_addc(&t->out, c);
    if (c == ']') {
        t->is_in_list = false;
        t->is_repeatable = true;
    }
    return NULL;
}

static const char *open_list(struct translation *t)
{
    buf_addc(&t->out, '[');
    if (t->at < t->end && *t->at == '^')
        buf_addc(&t->out, *t->at++);
    if (t->at < t->end && *t->at == ']')
        return "there is nothing between [ and ]";
    t->is_in_list = true;
    return NULL;
}

/* "{2}", "{1,2}", "{1,}" */
static const char *take_bound(struct translation *t)
{
    static const char wrong[] = "a bound is {n}, {n,} or {n,m} with single digits";
    char low, high;

    if (t->end - t->at < 2 || *t->at < '0' || *t->at > '9')
        return wrong;
    low = high = *t->at++;
    if (*t->at == ',') {
        t->at++;
        high = '9';
        if (t->at < t->end && *t->at >= '0' && *t->at <= '9')
            high = *t->at++;
    }
    if (t->at == t->end || *t->at != '}' || high < low)
        return wrong;
    buf_addc(&t->out, '{');
    buf_addc(&t->out, low);
    if (t->at[-1] == ',')
        buf_addc(&t->out, ',');
    else
        buf_addf(&t->out, ",%c", high);
    buf_addc(&t->out, *t->at++);
    return NULL;
}

static const char *take_parenthesis(struct translation *t, char c)
{
    t->depth += c == '(' ? 1 : -1;
    if (t->depth < 0)
        return "a ) has no (";
    if (t->depth > MAX_DEPTH)
        return "parentheses are too deep";
    if (c == '(' && t->at < t->end && *t->at == ')')
        return "there is nothing between ( and )";
    buf_addc(&t->out, c);
    t->is_repeatable = false;
    return NULL;
}

static const char *take_repetition(struct translation *t, char c)
{
    if (!t->is_repeatable)
        return "what is repeated, once, is one character or list";
    t->is_repeatable = false;
    if (c == '{')
        return take_bound(t);
    buf_addc(&t->out, c);
    return NULL;
}

static const char *take(struct translation *t)
{
    char c = *t->at++;

    if (c == '\\')
        return take_escape(t);
    if (t->is_in_list)
        return take_in_list(t, c);
    switch (c) {
    case '[':
        return open_list(t);
    case '(':
    case ')':
        return take_parenthesis(t, c);
    case '{':
    case '*':
    case '+':
    case '?':
        return take_repetition(t, c);
    case '|':
        buf_addc(&t->out, c);
        t->is_repeatable = false;
        return NULL;
    case '^':
    case '$':
        return "^ stands in front of everything, $ behind it";
    case ']':
    case '}':
        return "a ] or } has no [ or {";
    default:
        add_atom(t, &c, 1);
        return NULL;
    }
}

static const char *translate(struct translation *t)
{
    if (t->at == t->end)
        return "it is empty";
    if (t->end - t->at > MAX_PATTERN_BYTES)
        return "it is longer than 128 bytes";
    if (*t->at == '^') /* it has to match all of the text anyway */
        t->at++;
    if (t->end > t->at && t->end[-1] == '$' && t->end[-2] != '\\')
        t->end--;
    while (t->at < t->end) {
        const char *wrong = take(t);

        if (wrong)
            return wrong;
    }
    if (t->is_in_list)
        return "a [ has no ]";
    return t->depth > 0 ? "a ( has no )" : NULL;
}

enum status api_pattern_compile(const char *key, void **out, struct error *err)
{
    size_t len = strlen(key);
    struct translation t = {.at = key + 1, .end = key + len - 1};
    const char *wrong;
    regex_t *regex;
    enum status st = OK;
    int code;

    if (len < 2 || key[0] != '/' || key[len - 1] != '/')
        return fail(err, INVALID, "a regular expression stands between slashes");
    buf_init(&t.out, (size_t)8 * MAX_PATTERN_BYTES); /* \d becomes the longest: two bytes to five */
    wrong = translate(&t);
    if (wrong) {
        buf_done(&t.out);
        return fail(err, INVALID, "not a regular expression that can be used: %s", wrong);
    }
    regex = mem_alloc(sizeof(*regex));
    code = regcomp(regex, buf_str(&t.out), REG_EXTENDED);
    if (code == 0) {
        *out = regex;
    } else {
        char text[128];

        regerror(code, regex, text, sizeof(text));
        st = fail(err, INVALID, "not a regular expression: %s", text);
        free(regex);
    }
    buf_done(&t.out);
    return st;
}

bool api_pattern_matches(const void *pattern, const char *text)
{
    const regex_t *regex = pattern;
    regmatch_t match;

    /* The match is the leftmost and, of those, the longest: if the whole text matches, this is it.
     * Anchors around the expression would bind to the first and last of its alternatives. */
    return regexec(regex, text, 1, &match, 0) == 0 && match.rm_so == 0 &&
           (size_t)match.rm_eo == strlen(text);
}

void api_pattern_free(void *pattern)
{
    if (!pattern)
        return;
    regfree(pattern);
    free(pattern);
}

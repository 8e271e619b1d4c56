/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_method.c - what can be called on a value: Java's methods, as far as templates use them.
 *
 * What a value does not have has no value, as in Velocity.
 */
#include "template_internal.h"

#include <string.h>

static enum status method_size(struct eval *eval, const struct value *target,
                               const struct value *args, struct value *out)
{
    int64_t count;
    enum status st;

    (void)args;
    if (!value_is_map(target) && !value_is_list(target))
        return OK;
    st = value_count(eval, target, &count);
    *out = value_of_integer(count);
    return st;
}

static enum status method_is_empty(struct eval *eval, const struct value *target,
                                   const struct value *args, struct value *out)
{
    (void)args;
    return value_emptiness(eval, target, out);
}

static enum status method_get(struct eval *eval, const struct value *target,
                              const struct value *args, struct value *out)
{
    return value_index(eval, target, &args[0], out);
}

static enum status method_contains_key(struct eval *eval, const struct value *target,
                                       const struct value *args, struct value *out)
{
    struct slice wanted;
    struct slice key;
    struct value value;
    struct iterator it;
    bool is_there = false;
    enum status st = value_text(eval, &args[0], &wanted);

    if (st || !value_is_map(target))
        return st;
    st = iterator_begin(eval, &it, target);
    while (!st && iterator_next(&it, &key, &value))
        is_there |= slice_is_same(key, wanted);
    *out = value_of_bool(is_there);
    return st;
}

enum part { PART_KEY, PART_VALUE, PART_ENTRY };

static enum status make_entry(struct eval *eval, struct slice key, const struct value *value,
                              struct value *out)
{
    const struct value name = value_of_text(key.data, key.len);
    enum status st = map_create(eval, out);

    if (!st)
        st = map_put(eval, out->map, (struct slice){"key", 3}, &name);
    return st ? st : map_put(eval, out->map, (struct slice){"value", 5}, value);
}

/* A list of what a map has. */
static enum status list_parts(struct eval *eval, const struct value *target, enum part part,
                              struct value *out)
{
    struct iterator it;
    struct slice key;
    struct value value;
    enum status st;

    if (!value_is_map(target))
        return OK;
    st = list_create(eval, out);
    if (!st)
        st = iterator_begin(eval, &it, target);
    while (!st && iterator_next(&it, &key, &value)) {
        struct value item = value;

        if (part == PART_KEY)
            item = value_of_text(key.data, key.len);
        else if (part == PART_ENTRY)
            st = make_entry(eval, key, &value, &item);
        if (!st)
            st = list_add(eval, out->list, &item);
    }
    return st;
}

static enum status method_key_set(struct eval *eval, const struct value *target,
                                  const struct value *args, struct value *out)
{
    (void)args;
    return list_parts(eval, target, PART_KEY, out);
}

static enum status method_values(struct eval *eval, const struct value *target,
                                 const struct value *args, struct value *out)
{
    (void)args;
    return list_parts(eval, target, PART_VALUE, out);
}

static enum status method_entry_set(struct eval *eval, const struct value *target,
                                    const struct value *args, struct value *out)
{
    (void)args;
    return list_parts(eval, target, PART_ENTRY, out);
}

static enum status method_add(struct eval *eval, const struct value *target,
                              const struct value *args, struct value *out)
{
    if (target->kind == VALUE_JSON)
        return eval_fail(eval, INVALID, "add() needs a list that the template made");
    if (target->kind != VALUE_LIST)
        return OK;
    *out = value_of_bool(true);
    return list_add(eval, target->list, &args[0]);
}

/* Returns what was there before, as Java does: most templates write $!map.put() or a #set. */
static enum status method_put(struct eval *eval, const struct value *target,
                              const struct value *args, struct value *out)
{
    struct slice key;
    enum status st;

    if (target->kind == VALUE_JSON)
        return eval_fail(eval, INVALID, "put() needs a map that the template made");
    if (target->kind != VALUE_MAP)
        return OK;
    st = value_text(eval, &args[0], &key);
    if (!st)
        st = value_member(eval, target, key, out);
    return st ? st : map_put(eval, target->map, key, &args[1]);
}

static enum status method_equals(struct eval *eval, const struct value *target,
                                 const struct value *args, struct value *out)
{
    bool is_equal = false;
    enum status st = OK;

    if (target->kind == VALUE_UNDEFINED)
        return OK;
    st = value_is_equal(eval, target, &args[0], &is_equal);
    *out = value_of_bool(is_equal);
    return st;
}

static enum status method_to_string(struct eval *eval, const struct value *target,
                                    const struct value *args, struct value *out)
{
    struct slice text;
    enum status st;

    (void)args;
    if (value_is_nothing(target))
        return OK;
    st = value_text(eval, target, &text);
    if (!st)
        *out = value_of_text(text.data, text.len);
    return st;
}

/* In Java's characters, of which those past U+FFFF are two. */
static enum status method_length(struct eval *eval, const struct value *target,
                                 const struct value *args, struct value *out)
{
    int64_t count = 0;

    (void)args;
    if (target->kind == VALUE_MISSING)
        *out = value_of_integer(0);
    if (target->kind != VALUE_TEXT)
        return OK;
    for (size_t i = 0; i < target->text.len;) {
        size_t len = utf8_char_len(target->text.data + i, target->text.len - i);

        count += len == 4 ? 2 : 1;
        i += len ? len : 1;
    }
    *out = value_of_integer(count);
    return eval_spend(eval, target->text.len / BYTES_PER_STEP);
}

/* Where the text begins, from `from` on; SIZE_MAX: nowhere. */
static size_t find_text(struct slice in, size_t from, struct slice text)
{
    const char *at = memmem(in.data + from, in.len - from, text.data, text.len);

    return at ? (size_t)(at - in.data) : SIZE_MAX;
}

/* Of a text a part, of a list an item. */
static enum status method_contains(struct eval *eval, const struct value *target,
                                   const struct value *args, struct value *out)
{
    struct iterator it;
    struct slice text;
    struct slice key;
    struct value item;
    bool is_there = false;
    enum status st;

    if (target->kind == VALUE_TEXT) {
        st = value_text(eval, &args[0], &text);
        *out = value_of_bool(!st && find_text(target->text, 0, text) != SIZE_MAX);
        return st ? st : eval_spend(eval, target->text.len / BYTES_PER_STEP);
    }
    if (!value_is_list(target))
        return OK;
    st = iterator_begin(eval, &it, target);
    while (!st && !is_there && iterator_next(&it, &key, &item)) {
        st = eval_spend(eval, 1);
        if (!st)
            st = value_is_equal(eval, &item, &args[0], &is_there);
    }
    *out = value_of_bool(is_there);
    return st;
}

static enum status is_at(struct eval *eval, const struct value *target, const struct value *arg,
                         bool is_end, struct value *out)
{
    struct slice text;
    enum status st = value_text(eval, arg, &text);

    if (st || target->kind != VALUE_TEXT)
        return st;
    *out = value_of_bool(false);
    if (target->text.len >= text.len) {
        struct slice part = {target->text.data, text.len};

        part.data += is_end ? target->text.len - text.len : 0;
        *out = value_of_bool(slice_is_same(part, text));
    }
    return OK;
}

static enum status method_starts_with(struct eval *eval, const struct value *target,
                                      const struct value *args, struct value *out)
{
    return is_at(eval, target, &args[0], false, out);
}

static enum status method_ends_with(struct eval *eval, const struct value *target,
                                    const struct value *args, struct value *out)
{
    return is_at(eval, target, &args[0], true, out);
}

static void add_replaced(struct slice in, struct slice from, struct slice to, struct buf *out)
{
    size_t at = 0;

    for (;;) {
        size_t found = find_text(in, at, from);

        if (found == SIZE_MAX)
            break;
        buf_add(out, in.data + at, found - at);
        buf_add(out, to.data, to.len);
        at = found + from.len;
    }
    buf_add(out, in.data + at, in.len - at);
}

/* .replace(), and .replaceAll() of what is plain text. */
static enum status method_replace(struct eval *eval, const struct value *target,
                                  const struct value *args, struct value *out)
{
    struct slice from;
    struct slice to;
    struct buf text;
    enum status st = value_text(eval, &args[0], &from);

    if (!st)
        st = value_text(eval, &args[1], &to);
    if (st || target->kind != VALUE_TEXT)
        return st;
    if (from.len == 0)
        return eval_fail(eval, INVALID, "replace() of an empty text");
    st = eval_spend(eval, target->text.len / BYTES_PER_STEP);
    if (st)
        return st;
    buf_init(&text, eval_room(eval));
    add_replaced(target->text, from, to, &text);
    return eval_take(eval, &text, out);
}

static const struct method methods[] = {
    {"size", 0, method_size},
    {"isEmpty", 0, method_is_empty},
    {"get", 1, method_get},
    {"containsKey", 1, method_contains_key},
    {"keySet", 0, method_key_set},
    {"values", 0, method_values},
    {"entrySet", 0, method_entry_set},
    {"add", 1, method_add},
    {"put", 2, method_put},
    {"equals", 1, method_equals},
    {"toString", 0, method_to_string},
    {"length", 0, method_length},
    {"contains", 1, method_contains},
    {"startsWith", 1, method_starts_with},
    {"endsWith", 1, method_ends_with},
    {"replace", 2, method_replace},
};

const struct method *find_method(const struct method *table, size_t count, struct slice name,
                                 size_t arg_count)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].arg_count == arg_count && slice_is(name, table[i].name))
            return &table[i];
    }
    return NULL;
}

const struct method *find_value_method(struct slice name, size_t arg_count)
{
    return find_method(methods, ARRAY_LEN(methods), name, arg_count);
}

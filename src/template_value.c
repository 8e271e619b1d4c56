/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_value.c - the values of templates: printing, comparing, looking into them, their
 * methods.
 *
 * Lists and maps that a template makes can be changed; arrays and objects of JSON are borrowed from
 * a tree and cannot.
 */
#include "template_internal.h"

#include <inttypes.h>
#include <string.h>

enum { PRINT_DEPTH = 50, MEMBERS_PER_STEP = 16, BYTES_PER_STEP = 1024 };

/* ---- making them ---- */

struct value value_of_text(const char *text, size_t len)
{
    return (struct value){.kind = VALUE_TEXT, .text = {text, len}};
}

struct value value_of_integer(int64_t integer)
{
    return (struct value){.kind = VALUE_INTEGER, .integer = integer};
}

struct value value_of_bool(bool is_true)
{
    return (struct value){.kind = VALUE_BOOL, .is_true = is_true};
}

/* A double has all integers up to here, and prints them as such. */
static bool is_exact_integer(double number)
{
    return number > -1e15 && number < 1e15 && number == (double)(int64_t)number;
}

struct value value_of_json(const struct json *json)
{
    struct value value = {.kind = VALUE_UNDEFINED};

    if (!json)
        return value;
    switch (json_type(json)) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        return value_of_bool(json_is_true(json));
    case JSON_NUMBER:
        if (is_exact_integer(json_number(json)))
            return value_of_integer((int64_t)json_number(json));
        value = (struct value){.kind = VALUE_DECIMAL, .decimal = json_number(json)};
        break;
    case JSON_STRING:
        return value_of_text(json_text(json), strlen(json_text(json)));
    case JSON_ARRAY:
    case JSON_OBJECT:
        value = (struct value){.kind = VALUE_JSON, .json = json};
        break;
    }
    return value;
}

enum status list_create(struct eval *eval, struct value *out)
{
    void *list;
    enum status st = eval_alloc(eval, sizeof(struct list), &list);

    if (!st)
        *out = (struct value){.kind = VALUE_LIST, .list = list};
    return st;
}

enum status map_create(struct eval *eval, struct value *out)
{
    void *map;
    enum status st = eval_alloc(eval, sizeof(struct map), &map);

    if (!st)
        *out = (struct value){.kind = VALUE_MAP, .map = map};
    return st;
}

/* Storage for one more than count; the old one stays where it is until the end. */
static enum status grow(struct eval *eval, size_t size, size_t count, size_t *cap, void **storage)
{
    size_t new_cap = *cap ? *cap * 2 : 8;
    void *bigger;
    enum status st;

    if (count < *cap)
        return OK;
    st = eval_alloc(eval, new_cap * size, &bigger);
    if (st)
        return st;
    if (count)
        memcpy(bigger, *storage, count * size);
    *storage = bigger;
    *cap = new_cap;
    return OK;
}

enum status list_add(struct eval *eval, struct list *list, const struct value *value)
{
    void *items = list->items;
    enum status st = grow(eval, sizeof(*list->items), list->count, &list->cap, &items);

    if (st)
        return st;
    list->items = items;
    list->items[list->count++] = *value;
    return OK;
}

static bool is_same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The entry of a key, or NULL. */
static enum status map_find(struct eval *eval, const struct map *map, struct slice key,
                            struct entry **out)
{
    size_t i = 0;

    while (i < map->count && !is_same(map->entries[i].key, key))
        i++;
    *out = i < map->count ? &map->entries[i] : NULL;
    return eval_spend(eval, i / MEMBERS_PER_STEP);
}

enum status map_put(struct eval *eval, struct map *map, struct slice key, const struct value *value)
{
    void *entries = map->entries;
    struct entry *entry;
    enum status st = map_find(eval, map, key, &entry);

    if (!st && !entry) {
        st = grow(eval, sizeof(*map->entries), map->count, &map->cap, &entries);
        map->entries = entries;
        if (!st)
            entry = &map->entries[map->count++];
    }
    if (!st)
        *entry = (struct entry){key, *value};
    return st;
}

/* ---- walking ---- */

enum status iterator_begin(struct eval *eval, struct iterator *it, const struct value *container)
{
    *it = (struct iterator){.container = container};
    if (container->kind == VALUE_JSON) {
        it->at = json_first(container->json);
        it->count = json_len(container->json);
    } else if (container->kind == VALUE_LIST) {
        it->count = container->list->count;
    } else if (container->kind == VALUE_MAP) {
        it->count = container->map->count;
    }
    return eval_spend(eval, it->count / MEMBERS_PER_STEP);
}

bool iterator_next(struct iterator *it, struct slice *key, struct value *value)
{
    const struct value *container = it->container;
    size_t i = it->index;

    if (i == it->count)
        return false;
    it->index++;
    *key = (struct slice){0};
    if (container->kind == VALUE_JSON) {
        *value = value_of_json(it->at);
        if (json_type(container->json) == JSON_OBJECT)
            *key = (struct slice){json_key(it->at), strlen(json_key(it->at))};
        it->at = json_next(it->at);
    } else if (container->kind == VALUE_LIST) {
        *value = container->list->items[i];
    } else {
        *key = container->map->entries[i].key;
        *value = container->map->entries[i].value;
    }
    return true;
}

static bool is_map(const struct value *value)
{
    return value->kind == VALUE_MAP ||
           (value->kind == VALUE_JSON && json_type(value->json) == JSON_OBJECT);
}

static bool is_list(const struct value *value)
{
    return value->kind == VALUE_LIST ||
           (value->kind == VALUE_JSON && json_type(value->json) == JSON_ARRAY);
}

/* ---- printing ---- */

static enum status print(struct eval *eval, const struct value *value, unsigned depth,
                         struct buf *out);

/* In a list or map nothing is "null". */
static enum status print_item(struct eval *eval, const struct value *value, unsigned depth,
                              struct buf *out)
{
    if (value->kind == VALUE_UNDEFINED) {
        buf_adds(out, "null");
        return OK;
    }
    return print(eval, value, depth, out);
}

/* [x, y] and {a=1, b=2}.  A list may have been added to itself, and lists of lists of lists double
 * with each level. */
static enum status print_items(struct eval *eval, const struct value *value, unsigned depth,
                               struct buf *out)
{
    bool has_keys = value->kind == VALUE_MAP;
    struct iterator it;
    struct slice key;
    struct value item;
    enum status st = iterator_begin(eval, &it, value);

    if (depth > PRINT_DEPTH)
        return eval_fail(eval, LIMIT, "lists in lists more than %d deep", PRINT_DEPTH);
    buf_addc(out, has_keys ? '{' : '[');
    while (!st && iterator_next(&it, &key, &item)) {
        if (it.index > 1)
            buf_adds(out, ", ");
        if (has_keys) {
            buf_add(out, key.data, key.len);
            buf_addc(out, '=');
        }
        st = eval_spend(eval, 1);
        if (!st)
            st = print_item(eval, &item, depth + 1, out);
    }
    buf_addc(out, has_keys ? '}' : ']');
    return st;
}

static enum status print_json(struct eval *eval, const struct json *json, struct buf *out)
{
    size_t start = out->len;

    json_add_java(out, json);
    return eval_spend(eval, (out->len - start) / BYTES_PER_STEP);
}

static enum status print(struct eval *eval, const struct value *value, unsigned depth,
                         struct buf *out)
{
    switch (value->kind) {
    case VALUE_UNDEFINED:
    case VALUE_MISSING:
        break;
    case VALUE_BOOL:
        buf_adds(out, value->is_true ? "true" : "false");
        break;
    case VALUE_INTEGER:
        buf_addf(out, "%" PRId64, value->integer);
        break;
    case VALUE_DECIMAL:
        json_add_number(out, value->decimal);
        break;
    case VALUE_TEXT:
        buf_add(out, value->text.data, value->text.len);
        break;
    case VALUE_JSON:
        return print_json(eval, value->json, out);
    case VALUE_LIST:
    case VALUE_MAP:
        return print_items(eval, value, depth, out);
    }
    return OK;
}

enum status value_print(struct eval *eval, const struct value *value, struct buf *out)
{
    return print(eval, value, 0, out);
}

enum status value_text(struct eval *eval, const struct value *value, struct slice *out)
{
    struct value copy = *value;
    struct buf text;
    enum status st;

    if (value->kind != VALUE_TEXT) {
        buf_init(&text, eval_room(eval));
        st = value_print(eval, value, &text);
        if (st) {
            buf_done(&text);
            return st;
        }
        st = eval_take(eval, &text, &copy);
        if (st)
            return st;
    }
    *out = copy.text;
    return eval_spend(eval, copy.text.len / BYTES_PER_STEP);
}

/* ---- comparing ---- */

bool value_is_nothing(const struct value *value)
{
    return value->kind == VALUE_UNDEFINED || value->kind == VALUE_MISSING;
}

/* Velocity 1.x: everything that is there, but false; an empty text and 0 are true. */
bool value_is_true(const struct value *value)
{
    return !value_is_nothing(value) && (value->kind != VALUE_BOOL || value->is_true);
}

static bool is_integer(const struct value *value)
{
    return value->kind == VALUE_INTEGER;
}

static bool is_number(const struct value *value)
{
    return is_integer(value) || value->kind == VALUE_DECIMAL;
}

/* Numbers by value, everything else as it prints.  What is missing equals an empty text too. */
enum status value_is_equal(struct eval *eval, const struct value *a, const struct value *b,
                           bool *out)
{
    struct slice left;
    struct slice right;
    enum status st;

    if (value_is_nothing(a) && value_is_nothing(b)) {
        *out = true;
        return OK;
    }
    if (a->kind == VALUE_UNDEFINED || b->kind == VALUE_UNDEFINED) {
        *out = false;
        return OK;
    }
    if (is_number(a) && is_number(b)) {
        if (is_integer(a) && is_integer(b))
            *out = a->integer == b->integer;
        else
            *out = (is_integer(a) ? (double)a->integer : a->decimal) ==
                   (is_integer(b) ? (double)b->integer : b->decimal);
        return OK;
    }
    st = value_text(eval, a, &left);
    if (!st)
        st = value_text(eval, b, &right);
    if (!st)
        *out = is_same(left, right);
    return st;
}

/* ---- looking into them ---- */

static enum status json_member(struct eval *eval, const struct json *object, struct slice name,
                               struct value *out)
{
    const struct json *found = NULL;
    size_t count = 0;

    for (const struct json *it = json_first(object); it; it = json_next(it), count++) {
        if (slice_is(name, json_key(it)))
            found = it; /* the last of duplicates, as everywhere */
    }
    *out = value_of_json(found);
    return eval_spend(eval, count / MEMBERS_PER_STEP);
}

static enum status get_member(struct eval *eval, const struct value *target, struct slice name,
                              struct value *out)
{
    struct entry *entry;
    enum status st;

    if (target->kind == VALUE_JSON)
        return json_member(eval, target->json, name, out);
    st = map_find(eval, target->map, name, &entry);
    if (!st && entry)
        *out = entry->value;
    return st;
}

static enum status count_items(struct eval *eval, const struct value *value, int64_t *count)
{
    struct iterator it;
    enum status st = iterator_begin(eval, &it, value);

    *count = (int64_t)it.count;
    return st;
}

/* True or false of what can be empty. */
static enum status get_emptiness(struct eval *eval, const struct value *target, struct value *out)
{
    int64_t count = 0;
    enum status st = OK;

    if (is_map(target) || is_list(target))
        st = count_items(eval, target, &count);
    else if (target->kind == VALUE_TEXT)
        count = (int64_t)target->text.len;
    else if (target->kind != VALUE_MISSING)
        return OK;
    *out = value_of_bool(count == 0);
    return st;
}

enum status value_property(struct eval *eval, const struct value *target, struct slice name,
                           struct value *out)
{
    if (is_map(target))
        return get_member(eval, target, name, out);
    return slice_is(name, "empty") ? get_emptiness(eval, target, out) : OK;
}

enum status value_index(struct eval *eval, const struct value *target, const struct value *index,
                        struct value *out)
{
    struct slice key;
    enum status st;
    size_t at;

    if (is_map(target)) {
        st = value_text(eval, index, &key);
        return st ? st : get_member(eval, target, key, out);
    }
    if (!is_list(target) || index->kind != VALUE_INTEGER || index->integer < 0)
        return OK;
    at = (size_t)index->integer;
    if (target->kind == VALUE_JSON) {
        st = eval_spend(eval, (at < 1000000 ? at : 0) / MEMBERS_PER_STEP);
        *out = value_of_json(json_at(target->json, at));
        return st;
    }
    if (at < target->list->count)
        *out = target->list->items[at];
    return OK;
}

/* ---- methods ---- */

static enum status method_size(struct eval *eval, const struct value *target,
                               const struct value *args, struct value *out)
{
    int64_t count;
    enum status st;

    (void)args;
    if (!is_map(target) && !is_list(target))
        return OK;
    st = count_items(eval, target, &count);
    *out = value_of_integer(count);
    return st;
}

static enum status method_is_empty(struct eval *eval, const struct value *target,
                                   const struct value *args, struct value *out)
{
    (void)args;
    return get_emptiness(eval, target, out);
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

    if (st || !is_map(target))
        return st;
    st = iterator_begin(eval, &it, target);
    while (!st && iterator_next(&it, &key, &value))
        is_there |= is_same(key, wanted);
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

    if (!is_map(target))
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
        st = get_member(eval, target, key, out);
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
    if (!is_list(target))
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
        *out = value_of_bool(is_same(part, text));
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

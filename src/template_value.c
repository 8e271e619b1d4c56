/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_value.c - the values of templates: printing, comparing, looking into them.
 *
 * Lists and maps that a template makes can be changed; arrays and objects of JSON are borrowed from
 * a tree and cannot.
 */
#include "template_internal.h"

#include <inttypes.h>
#include <string.h>

enum { PRINT_DEPTH = 50 };

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

bool slice_is_same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The entry of a key, or NULL. */
static enum status map_find(struct eval *eval, const struct map *map, struct slice key,
                            struct entry **out)
{
    size_t i = 0;

    while (i < map->count && !slice_is_same(map->entries[i].key, key))
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

bool value_is_map(const struct value *value)
{
    return value->kind == VALUE_MAP ||
           (value->kind == VALUE_JSON && json_type(value->json) == JSON_OBJECT);
}

bool value_is_list(const struct value *value)
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
    struct slice left = {0};
    struct slice right = {0};
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
        *out = slice_is_same(left, right);
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

enum status value_member(struct eval *eval, const struct value *target, struct slice name,
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

enum status value_count(struct eval *eval, const struct value *value, int64_t *count)
{
    struct iterator it;
    enum status st = iterator_begin(eval, &it, value);

    *count = (int64_t)it.count;
    return st;
}

/* True or false of what can be empty. */
enum status value_emptiness(struct eval *eval, const struct value *target, struct value *out)
{
    int64_t count = 0;
    enum status st = OK;

    if (value_is_map(target) || value_is_list(target))
        st = value_count(eval, target, &count);
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
    if (value_is_map(target))
        return value_member(eval, target, name, out);
    return slice_is(name, "empty") ? value_emptiness(eval, target, out) : OK;
}

enum status value_index(struct eval *eval, const struct value *target, const struct value *index,
                        struct value *out)
{
    struct slice key;
    enum status st;
    size_t at;

    if (value_is_map(target)) {
        st = value_text(eval, index, &key);
        return st ? st : value_member(eval, target, key, out);
    }
    if (!value_is_list(target) || index->kind != VALUE_INTEGER || index->integer < 0)
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

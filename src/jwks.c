/* SPDX-License-Identifier: Apache-2.0 */
#include "jwks.h"

#include <stdlib.h>
#include <string.h>

#include "base64url.h"
#include "json.h"

struct jwk {
    char *kid; /* NULL when it has none */
    struct crypto_key *key;
};

struct jwks {
    size_t count;
    struct jwk keys[JWKS_MAX_KEYS];
};

static bool is_text(const struct json *object, const char *name, const char *wanted)
{
    const struct json *value = json_get(object, name);
    const char *text = value ? json_text(value) : NULL;

    return text && strcmp(text, wanted) == 0;
}

static bool is_text_or_absent(const struct json *object, const char *name, const char *wanted)
{
    return !json_get(object, name) || is_text(object, name, wanted);
}

/* "key_ops" says what the key is for, if it is there (RFC 7517, section 4.3). */
static bool may_verify(const struct json *jwk)
{
    const struct json *ops = json_get(jwk, "key_ops");
    const struct json *op;

    if (!ops)
        return true;
    if (json_type(ops) != JSON_ARRAY)
        return false;
    for (op = json_first(ops); op; op = json_next(op))
        if (json_type(op) == JSON_STRING && strcmp(json_text(op), "verify") == 0)
            return true;
    return false;
}

/* The bytes are yours to free, NULL when the member is no base64url text. */
static struct crypto_number take_number(const struct json *jwk, const char *name)
{
    struct crypto_number number = {0};
    const struct json *value = json_get(jwk, name);
    const char *text = value ? json_text(value) : NULL;

    if (text)
        number.bytes = base64url_decode(text, strlen(text), &number.len);
    return number;
}

static void drop_number(struct crypto_number number)
{
    free((void *)(uintptr_t)number.bytes);
}

typedef enum status key_fn(struct crypto_number a, struct crypto_number b, struct crypto_key **out,
                           struct error *err);

static struct crypto_key *make_key(const struct json *jwk, const char *first, const char *second,
                                   key_fn *make)
{
    struct crypto_number a = take_number(jwk, first);
    struct crypto_number b = take_number(jwk, second);
    struct crypto_key *key = NULL;

    if (a.bytes && b.bytes && make(a, b, &key, NULL) != OK)
        key = NULL;
    drop_number(a);
    drop_number(b);
    return key;
}

/* NULL for one that is not for us. */
static struct crypto_key *read_key(const struct json *jwk)
{
    if (json_type(jwk) != JSON_OBJECT || !is_text_or_absent(jwk, "use", "sig") || !may_verify(jwk))
        return NULL;
    if (is_text(jwk, "kty", "RSA") && is_text_or_absent(jwk, "alg", "RS256"))
        return make_key(jwk, "n", "e", crypto_key_from_rsa);
    if (is_text(jwk, "kty", "EC") && is_text(jwk, "crv", "P-256") &&
        is_text_or_absent(jwk, "alg", "ES256"))
        return make_key(jwk, "x", "y", crypto_key_from_p256);
    return NULL;
}

static void add_keys(struct jwks *jwks, const struct json *keys)
{
    const struct json *jwk;

    for (jwk = json_first(keys); jwk && jwks->count < JWKS_MAX_KEYS; jwk = json_next(jwk)) {
        struct crypto_key *key = read_key(jwk);
        const struct json *kid;

        if (!key)
            continue;
        kid = json_get(jwk, "kid");
        jwks->keys[jwks->count].kid = mem_strdup(kid ? json_text(kid) : NULL);
        jwks->keys[jwks->count].key = key;
        jwks->count++;
    }
}

enum status jwks_parse(const char *text, size_t len, struct jwks **out, struct error *err)
{
    struct json *json = NULL;
    const struct json *keys;
    struct jwks *jwks;

    if (json_parse(text, len, &json, NULL) != OK)
        return fail(err, INVALID, "no key set: it is not JSON");
    jwks = mem_alloc(sizeof(*jwks));
    keys = json_type(json) == JSON_OBJECT ? json_get(json, "keys") : NULL;
    if (keys && json_type(keys) == JSON_ARRAY)
        add_keys(jwks, keys);
    json_free(json);
    if (jwks->count == 0) {
        jwks_free(jwks);
        return fail(err, INVALID, "no key set with a key for RS256 or ES256");
    }
    *out = jwks;
    return OK;
}

void jwks_free(struct jwks *jwks)
{
    if (!jwks)
        return;
    for (size_t i = 0; i < jwks->count; i++) {
        free(jwks->keys[i].kid);
        crypto_key_free(jwks->keys[i].key);
    }
    free(jwks);
}

size_t jwks_count(const struct jwks *jwks)
{
    return jwks->count;
}

const struct crypto_key *jwks_next(const struct jwks *jwks, const char *kid, enum crypto_kind kind,
                                   size_t *at)
{
    while (*at < jwks->count) {
        const struct jwk *jwk = &jwks->keys[(*at)++];

        if (crypto_key_kind(jwk->key) != kind)
            continue;
        if (!kid || (jwk->kid && strcmp(jwk->kid, kid) == 0))
            return jwk->key;
    }
    return NULL;
}

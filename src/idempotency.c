/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idempotency.c - a ring, the oldest entry at `first`.
 *
 * Looking a key up walks all of it, which takes microseconds: hashes side by side, and sends that
 * carry a key are rare beside messages.
 */
#include "idempotency.h"

#include <stdlib.h>
#include <string.h>

#include "crypto.h"

enum { HASH_BYTES = 32 };

struct entry {
    unsigned char key[HASH_BYTES];
    unsigned char request[HASH_BYTES];
    int64_t at_ms;
    char *answer;
    size_t answer_len;
};

struct idempotency {
    size_t first;
    size_t count;
    size_t answer_bytes;
    struct entry entries[IDEMPOTENCY_ENTRIES];
};

struct idempotency *idempotency_create(void)
{
    return mem_alloc(sizeof(struct idempotency));
}

static struct entry *entry_at(struct idempotency *idempotency, size_t n)
{
    return &idempotency->entries[(idempotency->first + n) % IDEMPOTENCY_ENTRIES];
}

static void drop_first(struct idempotency *idempotency)
{
    struct entry *entry = entry_at(idempotency, 0);

    idempotency->answer_bytes -= entry->answer_len;
    free(entry->answer);
    entry->answer = NULL;
    idempotency->first = (idempotency->first + 1) % IDEMPOTENCY_ENTRIES;
    idempotency->count--;
}

void idempotency_free(struct idempotency *idempotency)
{
    if (!idempotency)
        return;
    while (idempotency->count)
        drop_first(idempotency);
    free(idempotency);
}

static void hash(const void *data, size_t len, unsigned char out[HASH_BYTES])
{
    unsigned char made[CRYPTO_HASH_BYTES_MOST];

    crypto_digest(CRYPTO_SHA256, data, len, made);
    memcpy(out, made, HASH_BYTES);
}

enum idempotency_result idempotency_find(const struct idempotency *idempotency,
                                         const struct idempotency_request *request,
                                         const char **answer)
{
    unsigned char key[HASH_BYTES], wanted[HASH_BYTES];

    hash(request->key, strlen(request->key), key);
    for (size_t i = 0; i < idempotency->count; i++) {
        const struct entry *entry =
            &idempotency->entries[(idempotency->first + i) % IDEMPOTENCY_ENTRIES];

        if (memcmp(entry->key, key, HASH_BYTES) != 0 ||
            entry->at_ms + IDEMPOTENCY_MS <= request->now_ms)
            continue;
        hash(request->request, request->len, wanted);
        if (memcmp(entry->request, wanted, HASH_BYTES) != 0)
            return IDEMPOTENCY_OTHER;
        *answer = entry->answer;
        return IDEMPOTENCY_SAME;
    }
    return IDEMPOTENCY_NEW;
}

void idempotency_put(struct idempotency *idempotency, const struct idempotency_request *request,
                     const char *answer)
{
    size_t len = strlen(answer);
    struct entry *entry;

    while (idempotency->count &&
           (idempotency->count == IDEMPOTENCY_ENTRIES ||
            idempotency->answer_bytes + len > IDEMPOTENCY_ANSWER_BYTES ||
            entry_at(idempotency, 0)->at_ms + IDEMPOTENCY_MS <= request->now_ms))
        drop_first(idempotency);
    entry = entry_at(idempotency, idempotency->count++);
    hash(request->key, strlen(request->key), entry->key);
    hash(request->request, request->len, entry->request);
    entry->at_ms = request->now_ms;
    entry->answer = mem_strdup(answer);
    entry->answer_len = len;
    idempotency->answer_bytes += len;
}

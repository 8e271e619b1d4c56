/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwks_source.h - the key sets of the settings: a file, a URL, both or neither.
 *
 * The file is read again when it has changed.  The URL is fetched on the thread pool at the start,
 * every jwt_jwks_cache_s, and, at most every ten seconds, when a token names a key that is not
 * there; a fetch that fails leaves the keys as they are and is tried again.  Loop thread only.
 */
#pragma once

#include "crypto.h"

struct config;
struct jwks_source;
struct loop;

/* INVALID when the file cannot be read or is no key set, or the URL is none. */
enum status jwks_source_create(const struct config *config, struct jwks_source **out,
                               struct error *err) MUST_USE;
/* Begins to fetch.  Without it the URL is not used. */
void jwks_source_start(struct jwks_source *source, struct loop *loop);
void jwks_source_free(struct jwks_source *source); /* NULL is allowed; waiters are not called */

bool jwks_source_is_set(const struct jwks_source *source);

/* Walks the keys: zeroes at first, NULL at the end; kid NULL: any. */
struct jwks_cursor {
    bool is_past_file;
    size_t at;
};
const struct crypto_key *jwks_source_next(struct jwks_source *source, const char *kid,
                                          enum crypto_kind kind, struct jwks_cursor *cursor);

/* No key fitted.  True when a fetch is under way that may bring one, begun here perhaps. */
bool jwks_source_refresh(struct jwks_source *source);

/* Called once, when that fetch has ended, well or not.  Embed it; jwks_source_unwait takes it
 * back. */
struct jwks_waiter {
    void (*fn)(void *ctx);
    void *ctx;
    struct jwks_waiter *next;
    struct jwks_waiter **link; /* not NULL while waiting */
};
void jwks_source_wait(struct jwks_source *source, struct jwks_waiter *waiter);
void jwks_source_unwait(struct jwks_waiter *waiter);

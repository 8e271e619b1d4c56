/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwks.h - a JSON Web Key Set (RFC 7517): the public keys of whoever signs the tokens.
 *
 * Keys that cannot check an RS256 or ES256 signature are passed over, as section 5 wants it:
 * symmetric ones above all, which would be secrets that everybody can read.
 */
#pragma once

#include "base.h"
#include "crypto.h"

struct jwks;

enum { JWKS_MAX_KEYS = 32, JWKS_MAX_BYTES = 256 * 1024 };

/* INVALID when it is no set, or has no key of use; keys past JWKS_MAX_KEYS are passed over. */
enum status jwks_parse(const char *text, size_t len, struct jwks **out, struct error *err) MUST_USE;
void jwks_free(struct jwks *jwks); /* NULL is allowed */

size_t jwks_count(const struct jwks *jwks);
/* Keys of that kind with that id; kid NULL: any.  *at is where to look, 0 at first; NULL at the
 * end.  Ids need not be unique. */
const struct crypto_key *jwks_next(const struct jwks *jwks, const char *kid, enum crypto_kind kind,
                                   size_t *at);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - JSON Web Tokens (libjwt and nothing else inside).
 */
#pragma once

#include "base.h"

struct auth;
struct buf;
struct config;

/* INVALID when the key file cannot be read or is no key. */
enum status auth_create(const struct config *config, struct auth **out, struct error *err) MUST_USE;
void auth_free(struct auth *auth);

/* Verifies signature, exp, nbf and, where set, iss and aud, with the leeway; adds the claims as
 * JSON object text to claims.  DENIED says why, without the token.  alg=none is refused, HMAC is
 * only tried with jwt_secret and RS/ES only with jwt_public_key_file. */
enum status auth_verify(const struct auth *auth, const char *token, int64_t now_s,
                        struct buf *claims, struct error *err) MUST_USE;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - JSON Web Tokens (RFC 7519): HS256, HS384, HS512, RS256 and ES256.
 */
#pragma once

#include "base.h"
#include "jwks_source.h"

struct auth;
struct buf;
struct config;
struct loop;

/* Whether http_client_setup is needed before. */
bool auth_uses_http(const struct config *config);
/* INVALID when a key file cannot be read or is none.  Waits for Secrets Manager when jwt_secret_arn
 * is set, up to five seconds. */
enum status auth_create(const struct config *config, struct auth **out, struct error *err) MUST_USE;
/* Begins to fetch the keys of jwt_jwks_url. */
void auth_start(struct auth *auth, struct loop *loop);
void auth_free(struct auth *auth);

/* Whether there is anything to verify a token with. */
bool auth_is_set(const struct auth *auth);

/* Verifies signature, exp, nbf and, where set, iss and aud, with the leeway; adds the claims as
 * JSON object text to claims.  DENIED says why, without the token.  The algorithm has to be one of
 * the kind of its key: alg=none is refused, HMAC is only tried with jwt_secret, RS256 and ES256
 * only with public keys.  UNAVAILABLE: the token names a key that is not there, and keys are being
 * fetched: ask again when auth_wait has called.
 * With demo_tokens on, a text that begins with "valid_" is good as it is. */
enum status auth_verify(struct auth *auth, const char *token, int64_t now_s, struct buf *claims,
                        struct error *err) MUST_USE;

/* jwks_source_unwait takes it back. */
void auth_wait(struct auth *auth, struct jwks_waiter *waiter);

/* Signs claims (JSON object text) with jwt_secret; alg is HS256, HS384 or HS512.  INVALID when it
 * is another one or there is no secret. */
enum status auth_sign(const struct auth *auth, const char *alg, const char *claims,
                      struct buf *token, struct error *err) MUST_USE;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * database_auth.h - as whom the program logs in at the database (database_auth):
 *
 *   password  what the connection string says
 *   iam       an IAM token of RDS as password, a new one for each connection: it is good for 15
 *             minutes, and is looked at only when a connection begins
 *   secret    user and password of database_secret_arn, from Secrets Manager; kept, and fetched
 *             again when the server refuses them, because they may have been rotated
 *
 * What connects asks here just before it does.
 */
#pragma once

#include "base.h"

struct buf;
struct config;
struct database_auth;
struct loop;
struct pg;
struct pg_options;

/* INVALID when the settings do not fit together; nothing is asked. */
enum status database_auth_check(const struct config *config, struct error *err) MUST_USE;

/* Whether http_client_setup is needed before. */
bool database_auth_uses_http(const struct config *config);

/* For a log: what the cause probably is that the server refused the login; NULL when err is
 * something else. */
const char *database_auth_cause(const struct config *config, const struct error *err);

/* The token for the host, port and user of the connection string, added to token. */
enum status database_auth_token(const struct config *config, int64_t now_s, struct buf *token,
                                struct error *err) MUST_USE;

/* ---- blocking: for commands ---- */

/* A connection of the settings; sets the HTTP client up where it is needed.  The error has the
 * likely cause. */
enum status database_auth_open(const struct config *config, struct pg **out,
                               struct error *err) MUST_USE;

/* ---- on the loop ---- */

/* Called when a fetch has ended, well (err is NULL) or not: ask again, or later. */
typedef void database_auth_news(void *ctx, const struct error *err);

/* The settings have to live until the loop is freed: a thread may be reading them. */
struct database_auth *database_auth_create(const struct config *config, struct loop *loop,
                                           database_auth_news *on_news, void *ctx) MUST_USE;
void database_auth_free(struct database_auth *auth); /* on_news is not called any more */

enum database_auth_answer {
    DATABASE_AUTH_READY,
    DATABASE_AUTH_FETCHING, /* on_news comes */
    DATABASE_AUTH_FAILED    /* err says why */
};

/* READY: user, password and needs_tls of options are set, borrowed until the loop's turn ends. */
enum database_auth_answer database_auth_login(struct database_auth *auth,
                                              struct pg_options *options, struct error *err);

/* The server has refused the login that was current as of `version` (database_auth_version, asked
 * together with it).  True when another one may be there soon: ask again at once, without counting
 * it as an outage. */
bool database_auth_refused(struct database_auth *auth, int64_t version);
int64_t database_auth_version(const struct database_auth *auth);
void database_auth_accepted(struct database_auth *auth);

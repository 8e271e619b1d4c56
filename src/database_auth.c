/* SPDX-License-Identifier: Apache-2.0 */
#include "database_auth.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "http_client.h"
#include "http_head.h"
#include "log.h"
#include "loop.h"
#include "pg.h"
#include "secrets.h"
#include "sigv4.h"

enum {
    TOKEN_EXPIRES_S = 900,
    TOKEN_BYTES = 16384,
    HOST_BYTES = 512,
    FETCH_PAUSE_MS = 2000,   /* behind a fetch that failed */
    REFUSED_PAUSE_MS = 30000 /* behind a fetch that brought what the server refused, too */
};

/* What is under way on the thread pool; the owner may be freed before it ends. */
struct fetch {
    struct database_auth *auth; /* NULL once it is gone */
    const struct config *config;
    atomic_bool is_cancelled;
    /* written by the other thread, read when it is done */
    char *user;
    char *password;
    enum status st;
    struct error err;
};

struct database_auth {
    const struct config *config;
    struct loop *loop;
    database_auth_news *on_news;
    void *ctx;
    struct buf token; /* of iam: the last one */
    char *user;       /* of secret; NULL: the connection string's */
    char *password;   /* of secret; NULL: none yet */
    bool is_stale;    /* the server has refused it */
    bool is_accepted; /* by the server, since it was fetched */
    int64_t version;  /* how often it was fetched */
    struct fetch *fetch;
    int64_t ended_ms; /* when the last fetch did */
    struct error failure;
};

static bool is_iam(const struct config *config)
{
    return strcmp(config->database_auth, "iam") == 0;
}

static bool is_secret(const struct config *config)
{
    return strcmp(config->database_auth, "secret") == 0;
}

bool database_auth_uses_http(const struct config *config)
{
    return is_secret(config);
}

/* ---- the settings ---- */

static enum status check_credentials(const struct config *config, struct error *err)
{
    if (*config->aws_access_key_id && *config->aws_secret_access_key)
        return OK;
    return fail(err, INVALID,
                "database_auth=%s needs aws_access_key_id and aws_secret_access_key "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
                config->database_auth);
}

static enum status check_target(const struct pg_target *target, struct error *err)
{
    if (*target->host == '\0' || *target->host == '/' || *target->host == '@')
        return fail(err, INVALID,
                    "database_auth=iam needs the host of the database in the connection string");
    if (*target->user == '\0')
        return fail(err, INVALID, "database_auth=iam needs a user in the connection string");
    if (strcmp(target->sslmode, "disable") == 0)
        return fail(err, INVALID,
                    "database_auth=iam needs TLS: sslmode=disable would send tokens for everybody "
                    "to read; use sslmode=verify-full and sslrootcert");
    return OK;
}

static enum status read_target(const struct config *config, struct pg_target *target,
                               struct error *err)
{
    enum status st = pg_target_of(config->database_url, target, err);

    return st == OK ? check_target(target, err) : st;
}

enum status database_auth_check(const struct config *config, struct error *err)
{
    struct pg_target target = {0};
    enum status st = OK;

    if (is_secret(config) && !*config->database_secret_arn)
        return fail(err, INVALID, "database_auth=secret needs database_secret_arn");
    if (is_iam(config) || is_secret(config))
        st = check_credentials(config, err);
    if (st == OK && is_iam(config))
        st = read_target(config, &target, err);
    pg_target_done(&target);
    return st;
}

const char *database_auth_cause(const struct config *config, const struct error *err)
{
    if (strncmp(err->sqlstate, "28", 2) != 0)
        return NULL;
    if (is_iam(config))
        return "the role lacks \"grant rds_iam\", rds-db:connect is missing for this user, "
               "aws_region is another one, or this machine's clock is wrong";
    if (is_secret(config))
        return "the secret is another user's, or it is being rotated";
    return "user or password of the connection string, or pg_hba.conf";
}

/* ---- IAM ---- */

/* A presigned URL without its scheme. */
static enum status presign(const struct config *config, const struct pg_target *target,
                           int64_t now_s, struct buf *token)
{
    char host[HOST_BYTES];
    const struct sigv4_header headers[] = {{"Host", host}};
    const struct sigv4_credentials credentials = {
        config->aws_access_key_id, config->aws_secret_access_key, config->aws_session_token};
    const struct sigv4_presigning how = {.region = config->aws_region,
                                         .service = "rds-db",
                                         .now_s = now_s,
                                         .expires_s = TOKEN_EXPIRES_S};
    struct sigv4_request request = {
        .method = "GET", .path = "/", .headers = headers, .header_count = ARRAY_LEN(headers)};
    struct buf query;
    enum status st;
    int len = snprintf(host, sizeof(host), "%s:%s", target->host, target->port);

    if (len < 0 || (size_t)len >= sizeof(host))
        return INVALID;
    buf_init(&query, HOST_BYTES);
    buf_adds(&query, "Action=connect&DBUser=");
    url_encode(&query, (struct slice){target->user, strlen(target->user)}, false);
    request.query = buf_str(&query);
    buf_addf(token, "%s/?", host);
    st = buf_full(&query) ? INVALID : sigv4_presign(&request, &credentials, &how, token);
    buf_done(&query);
    return st;
}

enum status database_auth_token(const struct config *config, int64_t now_s, struct buf *token,
                                struct error *err)
{
    struct pg_target target = {0};
    enum status st = check_credentials(config, err);

    if (st == OK)
        st = read_target(config, &target, err);
    if (st == OK && presign(config, &target, now_s, token) != OK)
        st = fail(err, INVALID, "host, user and credentials are too long for a token");
    pg_target_done(&target);
    return st;
}

/* ---- blocking ---- */

static enum status fetch_login(const struct config *config, const atomic_bool *is_cancelled,
                               char **user, char **password, struct error *err)
{
    struct buf value;
    enum status st;

    buf_init(&value, SECRET_VALUE_BYTES);
    st = secret_fetch(config, config->database_secret_arn, is_cancelled, &value, err);
    if (st == OK)
        st = secret_read_login(buf_str(&value), value.len, user, password, err);
    secret_done(&value);
    return st == OK ? OK : fail_context(err, "database_secret_arn");
}

static enum status fetch_once(const struct config *config, char **user, char **password,
                              struct error *err)
{
    enum status st = http_client_setup(err);

    if (st != OK)
        return st;
    st = fetch_login(config, NULL, user, password, err);
    http_client_done();
    return st;
}

static enum status open_as(const struct config *config, const char *user, const char *password,
                           struct pg **out, struct error *err)
{
    const struct pg_options options = {
        .url = config->database_url,
        .application_name = "switchboard",
        .connect_timeout_ms = config->database_connect_timeout_ms,
        .user = user,
        .password = password,
        .needs_tls = is_iam(config),
    };
    enum status st = pg_open(&options, out, err);
    const char *cause = st == OK ? NULL : database_auth_cause(config, err);

    return cause ? fail(err, st, "%s; likely cause: %s", err->text, cause) : st;
}

static enum status open_with_token(const struct config *config, struct pg **out, struct error *err)
{
    struct buf token;
    enum status st;

    buf_init(&token, TOKEN_BYTES);
    st = database_auth_token(config, clock_unix_ms() / 1000, &token, err);
    if (st == OK)
        st = open_as(config, NULL, buf_str(&token), out, err);
    secret_done(&token);
    return st;
}

static enum status open_with_secret(const struct config *config, struct pg **out, struct error *err)
{
    char *password = NULL;
    char *user = NULL;
    enum status st = fetch_once(config, &user, &password, err);

    if (st == OK)
        st = open_as(config, user, password, out, err);
    secret_free(user);
    secret_free(password);
    return st;
}

enum status database_auth_open(const struct config *config, struct pg **out, struct error *err)
{
    enum status st = database_auth_check(config, err);

    if (st != OK)
        return st;
    if (is_iam(config))
        return open_with_token(config, out, err);
    if (is_secret(config))
        return open_with_secret(config, out, err);
    return open_as(config, NULL, NULL, out, err);
}

/* ---- on the loop: fetching ---- */

static void run_fetch(void *ctx)
{
    struct fetch *fetch = ctx;

    fetch->st = fetch_login(fetch->config, &fetch->is_cancelled, &fetch->user, &fetch->password,
                            &fetch->err);
}

static void take_login(struct database_auth *auth, struct fetch *fetch)
{
    auth->ended_ms = loop_now_ms(auth->loop);
    auth->failure = fetch->err;
    if (fetch->st != OK)
        return;
    secret_free(auth->user);
    secret_free(auth->password);
    auth->user = fetch->user;
    auth->password = fetch->password;
    fetch->user = NULL;
    fetch->password = NULL;
    auth->is_stale = false;
    auth->version++;
    log_info("database.secret_fetched", "times=%lld", (long long)auth->version);
}

static void on_fetched(void *ctx)
{
    struct fetch *fetch = ctx;
    struct database_auth *auth = fetch->auth;
    struct error err = fetch->err;
    bool is_good = fetch->st == OK;

    if (auth) {
        auth->fetch = NULL;
        take_login(auth, fetch);
    }
    secret_free(fetch->user);
    secret_free(fetch->password);
    free(fetch);
    if (auth)
        auth->on_news(auth->ctx, is_good ? NULL : &err);
}

static void start_fetch(struct database_auth *auth)
{
    struct fetch *fetch = mem_alloc(sizeof(*fetch));

    fetch->auth = auth;
    fetch->config = auth->config;
    atomic_init(&fetch->is_cancelled, false);
    auth->fetch = fetch;
    loop_work(auth->loop, run_fetch, on_fetched, fetch);
}

/* A service that is down, or says no, is not asked by every attempt to connect. */
static bool is_pausing(const struct database_auth *auth)
{
    return auth->failure.status != OK && loop_now_ms(auth->loop) - auth->ended_ms < FETCH_PAUSE_MS;
}

static enum database_auth_answer login_with_secret(struct database_auth *auth,
                                                   struct pg_options *options, struct error *err)
{
    if (auth->password && !auth->is_stale) {
        options->user = auth->user;
        options->password = auth->password;
        return DATABASE_AUTH_READY;
    }
    if (!auth->fetch && is_pausing(auth)) {
        *err = auth->failure;
        return DATABASE_AUTH_FAILED;
    }
    if (!auth->fetch)
        start_fetch(auth);
    return DATABASE_AUTH_FETCHING;
}

static enum database_auth_answer login_with_token(struct database_auth *auth,
                                                  struct pg_options *options, struct error *err)
{
    buf_clear(&auth->token);
    if (database_auth_token(auth->config, clock_unix_ms() / 1000, &auth->token, err) != OK)
        return DATABASE_AUTH_FAILED;
    options->password = buf_str(&auth->token);
    options->needs_tls = true;
    return DATABASE_AUTH_READY;
}

enum database_auth_answer database_auth_login(struct database_auth *auth,
                                              struct pg_options *options, struct error *err)
{
    if (is_iam(auth->config))
        return login_with_token(auth, options, err);
    if (is_secret(auth->config))
        return login_with_secret(auth, options, err);
    return DATABASE_AUTH_READY;
}

/* ---- on the loop: what the server said ---- */

int64_t database_auth_version(const struct database_auth *auth)
{
    return auth->version;
}

void database_auth_accepted(struct database_auth *auth)
{
    auth->is_accepted = true;
}

/* One that was good until now is fetched again at once; one that never was, only after a while. */
bool database_auth_refused(struct database_auth *auth, int64_t version)
{
    int64_t age_ms = loop_now_ms(auth->loop) - auth->ended_ms;

    if (!is_secret(auth->config))
        return false;
    if (auth->is_stale || auth->version != version)
        return true;
    if (!auth->is_accepted && age_ms < REFUSED_PAUSE_MS)
        return false;
    auth->is_accepted = false;
    auth->is_stale = true;
    return true;
}

/* ---- life ---- */

struct database_auth *database_auth_create(const struct config *config, struct loop *loop,
                                           database_auth_news *on_news, void *ctx)
{
    struct database_auth *auth = mem_alloc(sizeof(*auth));

    auth->config = config;
    auth->loop = loop;
    auth->on_news = on_news;
    auth->ctx = ctx;
    buf_init(&auth->token, TOKEN_BYTES);
    return auth;
}

void database_auth_free(struct database_auth *auth)
{
    if (!auth)
        return;
    if (auth->fetch) {
        atomic_store(&auth->fetch->is_cancelled, true);
        auth->fetch->auth = NULL;
    }
    secret_free(auth->user);
    secret_free(auth->password);
    secret_done(&auth->token);
    free(auth);
}

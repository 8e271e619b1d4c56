/* SPDX-License-Identifier: Apache-2.0 */
#include "auth.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base64url.h"
#include "buf.h"
#include "config.h"
#include "json.h"
#include "secrets.h"

#define DEMO_PREFIX "valid_"

enum { MAX_TOKEN_BYTES = 16384, MAX_KEY_FILE_BYTES = 16384, HEADER_BYTES = 64 };

struct auth {
    char *secret;                  /* NULL: HMAC is never tried */
    struct crypto_key *public_key; /* of the PEM file; NULL: none */
    struct jwks_source *keys;
    char *issuer; /* NULL: not checked */
    char *audience;
    int64_t leeway_s;
    bool has_demo_tokens;
};

/* The algorithms of RFC 7518, section 3.1, that are known here.  "none" is not one of them. */
struct algorithm {
    const char *name;
    bool is_hmac;
    enum crypto_hash hash; /* of HMAC */
    enum crypto_kind kind; /* of the others */
};

static const struct algorithm algorithms[] = {
    {"HS256", true, CRYPTO_SHA256, 0}, {"HS384", true, CRYPTO_SHA384, 0},
    {"HS512", true, CRYPTO_SHA512, 0}, {"RS256", false, 0, CRYPTO_RSA},
    {"ES256", false, 0, CRYPTO_P256},
};

static const struct algorithm *find_algorithm(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

/* ---- life ---- */

static enum status read_key(const char *path, struct crypto_key **out, struct error *err)
{
    FILE *file = fopen(path, "re");
    enum status st = OK;
    char *text;
    size_t len;

    if (!file)
        return fail(err, INVALID, "cannot open the key file \"%s\": %s", path, strerror(errno));
    text = mem_alloc(MAX_KEY_FILE_BYTES + 1);
    len = fread(text, 1, MAX_KEY_FILE_BYTES, file);
    text[len] = '\0';
    if (ferror(file))
        st = fail(err, INVALID, "cannot read the key file \"%s\"", path);
    else if (crypto_key_from_pem(text, out, err) != OK)
        st = fail(err, INVALID, "\"%s\" is no PEM public key (RSA or P-256, \"BEGIN PUBLIC KEY\")",
                  path);
    fclose(file);
    free(text);
    return st;
}

static char *dup_unless_empty(const char *text)
{
    return text && *text ? mem_strdup(text) : NULL;
}

bool auth_uses_http(const struct config *config)
{
    return (config->jwt_secret_arn && *config->jwt_secret_arn) ||
           (config->jwt_jwks_url && *config->jwt_jwks_url);
}

static enum status fetch_secret(const struct config *config, char **out, struct error *err)
{
    struct buf value;
    enum status st;

    buf_init(&value, SECRET_VALUE_BYTES);
    st = secret_fetch(config, config->jwt_secret_arn, NULL, &value, err);
    if (st == OK)
        st = secret_read_member(buf_str(&value), value.len, "jwt_secret", out, err);
    secret_done(&value);
    return st == OK ? OK : fail_context(err, "jwt_secret_arn");
}

static enum status read_secret(const struct config *config, char **out, struct error *err)
{
    bool is_elsewhere = config->jwt_secret_arn && *config->jwt_secret_arn;

    *out = dup_unless_empty(config->jwt_secret);
    if (!is_elsewhere)
        return OK;
    if (*out)
        return fail(err, INVALID, "jwt_secret and jwt_secret_arn are both set");
    return fetch_secret(config, out, err);
}

enum status auth_create(const struct config *config, struct auth **out, struct error *err)
{
    struct auth *auth = mem_alloc(sizeof(*auth));
    enum status st = OK;

    st = read_secret(config, &auth->secret, err);
    auth->issuer = dup_unless_empty(config->jwt_issuer);
    auth->audience = dup_unless_empty(config->jwt_audience);
    auth->leeway_s = config->jwt_leeway_s;
    auth->has_demo_tokens = config->demo_tokens && strcmp(config->demo_tokens, "on") == 0;
    if (st == OK && config->jwt_public_key_file && *config->jwt_public_key_file)
        st = read_key(config->jwt_public_key_file, &auth->public_key, err);
    if (st == OK)
        st = jwks_source_create(config, &auth->keys, err);
    if (st == OK)
        *out = auth;
    else
        auth_free(auth);
    return st;
}

void auth_start(struct auth *auth, struct loop *loop)
{
    jwks_source_start(auth->keys, loop);
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    if (auth->secret)
        explicit_bzero(auth->secret, strlen(auth->secret));
    free(auth->secret);
    crypto_key_free(auth->public_key);
    jwks_source_free(auth->keys);
    free(auth->issuer);
    free(auth->audience);
    free(auth);
}

bool auth_is_set(const struct auth *auth)
{
    return auth->secret || auth->public_key || jwks_source_is_set(auth->keys) ||
           auth->has_demo_tokens;
}

void auth_wait(struct auth *auth, struct jwks_waiter *waiter)
{
    jwks_source_wait(auth->keys, waiter);
}

/* ---- taking a token apart ---- */

/* header.claims.signature (RFC 7515, section 7.1) */
struct token {
    const char *text;
    size_t signed_len; /* header and claims */
    struct json *header;
    const struct algorithm *algorithm;
    const char *kid; /* in header; NULL: none */
    unsigned char *claims;
    size_t claims_len;
    unsigned char *signature;
    size_t signature_len;
};

static void token_done(struct token *token)
{
    json_free(token->header);
    free(token->claims);
    free(token->signature);
}

/* Other types are made for other purposes (a logout token, say) and are no way in (RFC 8725,
 * section 3.11); access tokens may say what they are (RFC 9068, section 2.1). */
static bool is_known_type(const char *type)
{
    static const char prefix[] = "application/";

    if (strncasecmp(type, prefix, sizeof(prefix) - 1) == 0)
        type += sizeof(prefix) - 1;
    return strcasecmp(type, "JWT") == 0 || strcasecmp(type, "at+jwt") == 0;
}

static enum status read_header(struct token *token, const char *text, size_t len, struct error *err)
{
    const char *alg = NULL;
    const char *type = "JWT";

    if (json_parse(text, len, &token->header, NULL) != OK ||
        json_type(token->header) != JSON_OBJECT ||
        json_get_str(token->header, "alg", &alg, NULL) != OK ||
        json_opt_str(token->header, "typ", &type, NULL) != OK ||
        json_opt_str(token->header, "kid", &token->kid, NULL) != OK)
        return fail(err, DENIED, "the token has no readable header");
    token->algorithm = find_algorithm(alg);
    if (!token->algorithm)
        return fail(err, DENIED, "the token is not signed in a way that is known here");
    if (!is_known_type(type))
        return fail(err, DENIED, "the token is of another type");
    /* Whoever does not understand what it lists has to refuse (RFC 7515, section 4.1.11). */
    if (json_get(token->header, "crit"))
        return fail(err, DENIED, "the token has a critical extension");
    return OK;
}

static enum status take_apart(const char *text, struct token *token, struct error *err)
{
    size_t header_len = strcspn(text, ".");
    const char *claims = text[header_len] ? text + header_len + 1 : NULL;
    size_t claims_len = claims ? strcspn(claims, ".") : 0;
    const char *signature = claims && claims[claims_len] ? claims + claims_len + 1 : NULL;
    unsigned char *header;
    enum status st;
    size_t len;

    if (!signature || strchr(signature, '.'))
        return fail(err, DENIED, "the token does not have three parts");
    token->text = text;
    token->signed_len = header_len + 1 + claims_len;
    header = base64url_decode(text, header_len, &len);
    token->claims = base64url_decode(claims, claims_len, &token->claims_len);
    token->signature = base64url_decode(signature, strlen(signature), &token->signature_len);
    if (header && token->claims && token->signature)
        st = read_header(token, (const char *)header, len, err);
    else
        st = fail(err, DENIED, "the token is not encoded as base64url");
    free(header);
    return st;
}

/* ---- signatures ---- */

static bool is_signed_by(const struct token *token, const struct crypto_key *key)
{
    return key && crypto_key_kind(key) == token->algorithm->kind &&
           crypto_key_verify(key, token->text, token->signed_len, token->signature,
                             token->signature_len);
}

static bool has_hmac(const struct token *token, const char *secret)
{
    unsigned char mac[CRYPTO_HASH_BYTES_MOST];
    size_t len;

    if (!secret)
        return false;
    len = crypto_hmac(token->algorithm->hash, secret, token->text, token->signed_len, mac);
    return len == token->signature_len && crypto_is_equal(mac, token->signature, len);
}

/* A token that names its key is checked with the keys of that name only; the PEM file's has none.
 */
static enum status check_key_signature(struct auth *auth, const struct token *token,
                                       struct error *err)
{
    struct jwks_cursor cursor = {0};
    const struct crypto_key *key;
    bool is_known = false;

    if (is_signed_by(token, auth->public_key))
        return OK;
    while ((key = jwks_source_next(auth->keys, token->kid, token->algorithm->kind, &cursor))) {
        is_known = true;
        if (is_signed_by(token, key))
            return OK;
    }
    if ((!is_known || !token->kid) && jwks_source_refresh(auth->keys))
        return fail(err, UNAVAILABLE, "the key of the token is being looked for");
    return fail(err, DENIED,
                is_known || auth->public_key ? "the signature of the token is not valid"
                                             : "the key of the token is not known");
}

/* The token's header says how it is signed, so a key must only be used with the family it was made
 * for: a public key as an HMAC secret is known to everybody (RFC 8725, section 2.1). */
static enum status check_signature(struct auth *auth, const struct token *token, struct error *err)
{
    assert(token->algorithm);
    if (!token->algorithm->is_hmac)
        return check_key_signature(auth, token, err);
    return has_hmac(token, auth->secret)
               ? OK
               : fail(err, DENIED, "the signature of the token is not valid");
}

/* ---- claims ---- */

/* NumericDate (RFC 7519, section 2) may have a fraction. */
static enum status check_times(const struct auth *auth, const struct json *claims, int64_t now_s,
                               struct error *err)
{
    const struct json *exp = json_get(claims, "exp");
    const struct json *nbf = json_get(claims, "nbf");

    if ((exp && json_type(exp) != JSON_NUMBER) || (nbf && json_type(nbf) != JSON_NUMBER))
        return fail(err, DENIED, "exp or nbf of the token is no number");
    if (exp && (double)now_s >= json_number(exp) + (double)auth->leeway_s)
        return fail(err, DENIED, "the token has expired");
    if (nbf && (double)now_s < json_number(nbf) - (double)auth->leeway_s)
        return fail(err, DENIED, "the token is not valid yet");
    return OK;
}

static bool is_text(const struct json *json, const char *text)
{
    const char *found = json ? json_text(json) : NULL;

    return found && strcmp(found, text) == 0;
}

/* aud is a text or an array of texts (RFC 7519, section 4.1.3). */
static bool is_for(const struct json *aud, const char *audience)
{
    const struct json *item;

    if (!aud || json_type(aud) != JSON_ARRAY)
        return is_text(aud, audience);
    for (item = json_first(aud); item; item = json_next(item))
        if (is_text(item, audience))
            return true;
    return false;
}

static enum status check_claims(const struct auth *auth, const struct token *token, int64_t now_s,
                                struct error *err)
{
    struct json *claims = NULL;
    enum status st;

    if (json_parse((const char *)token->claims, token->claims_len, &claims, NULL) != OK)
        return fail(err, DENIED, "the claims of the token are not readable");
    if (json_type(claims) != JSON_OBJECT)
        st = fail(err, DENIED, "the token has no claims");
    else if (auth->issuer && !is_text(json_get(claims, "iss"), auth->issuer))
        st = fail(err, DENIED, "the token has another issuer");
    else if (auth->audience && !is_for(json_get(claims, "aud"), auth->audience))
        st = fail(err, DENIED, "the token is for another audience");
    else
        st = check_times(auth, claims, now_s, err);
    json_free(claims);
    return st;
}

/* ---- verifying ---- */

static void add_demo_claims(const char *token, struct buf *claims)
{
    const char *who = token + strlen(DEMO_PREFIX);

    json_open(claims, NULL, '{');
    json_str(claims, "demo", "true");
    json_str(claims, "principalId", *who ? who : "anonymous");
    json_close(claims, '}');
}

enum status auth_verify(struct auth *auth, const char *token, int64_t now_s, struct buf *claims,
                        struct error *err)
{
    struct token parts = {0};
    enum status st;

    if (!auth_is_set(auth))
        return fail(err, DENIED, "no key is set to verify tokens with");
    if (strnlen(token, MAX_TOKEN_BYTES + 1) > MAX_TOKEN_BYTES)
        return fail(err, DENIED, "the token is too long");
    if (auth->has_demo_tokens && strncmp(token, DEMO_PREFIX, strlen(DEMO_PREFIX)) == 0) {
        add_demo_claims(token, claims);
        return OK;
    }
    st = take_apart(token, &parts, err);
    if (st == OK)
        st = check_signature(auth, &parts, err);
    if (st == OK)
        st = check_claims(auth, &parts, now_s, err);
    if (st == OK)
        buf_add(claims, parts.claims, parts.claims_len);
    token_done(&parts);
    return st;
}

/* ---- signing ---- */

enum status auth_sign(const struct auth *auth, const char *alg, const char *claims,
                      struct buf *token, struct error *err)
{
    const struct algorithm *algorithm = find_algorithm(alg);
    unsigned char mac[CRYPTO_HASH_BYTES_MOST];
    char header[HEADER_BYTES];
    size_t len;

    if (!algorithm || !algorithm->is_hmac)
        return fail(err, INVALID, "tokens are signed with HS256, HS384 or HS512");
    if (!auth->secret)
        return fail(err, INVALID, "jwt_secret is not set");
    snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg);
    base64url_add(token, header, strlen(header));
    buf_addc(token, '.');
    base64url_add(token, claims, strlen(claims));
    len = crypto_hmac(algorithm->hash, auth->secret, buf_str(token), token->len, mac);
    buf_addc(token, '.');
    base64url_add(token, mac, len);
    return OK;
}

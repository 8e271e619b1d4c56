/* SPDX-License-Identifier: Apache-2.0 */
#include "auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jwt.h>

#include "buf.h"
#include "config.h"
#include "json.h"

enum {
    MAX_TOKEN_BYTES = 16384,
    MAX_KEY_FILE_BYTES = 16384,
    MAX_DER_BYTES = 4096,
    OID_WINDOW_BYTES = 32 /* the algorithm stands at the front of a SubjectPublicKeyInfo */
};

struct auth {
    char *secret;     /* NULL: HMAC is never tried */
    char *public_key; /* PEM; NULL: RSA and ECDSA are never tried */
    char *issuer;     /* NULL: not checked */
    char *audience;
    int64_t leeway_s;
};

/* ---- keys ---- */

static int base64_value(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(alphabet, c) : NULL;

    return found ? (int)(found - alphabet) : -1;
}

/* Decodes up to end; line breaks are skipped. */
static size_t decode_base64(const char *text, const char *end, unsigned char *out, size_t size)
{
    uint32_t bits = 0;
    int count = 0;
    size_t len = 0;

    for (; text < end && len < size; text++) {
        int value = base64_value(*text);

        if (value < 0)
            continue;
        bits = (bits << 6 | (uint32_t)value) & 0xffffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[len++] = (unsigned char)(bits >> count);
        }
    }
    return len;
}

/* libjwt says the same for a broken key and for a broken signature, so look here: a PEM
 * SubjectPublicKeyInfo (RFC 5280, section 4.1) of an RSA or an elliptic curve key. */
static bool is_public_key(const char *pem)
{
    static const char begin[] = "-----BEGIN PUBLIC KEY-----";
    static const unsigned char rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01};
    static const unsigned char ec[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
    unsigned char der[MAX_DER_BYTES];
    const char *body = strstr(pem, begin);
    const char *end = body ? strstr(body, "-----END PUBLIC KEY-----") : NULL;
    size_t len;

    if (!end)
        return false;
    len = decode_base64(body + strlen(begin), end, der, sizeof(der));
    return len > OID_WINDOW_BYTES && der[0] == 0x30 &&
           (memmem(der, OID_WINDOW_BYTES, rsa, sizeof(rsa)) ||
            memmem(der, OID_WINDOW_BYTES, ec, sizeof(ec)));
}

static enum status read_key(const char *path, char **out, struct error *err)
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
    else if (!is_public_key(text))
        st = fail(err, INVALID, "\"%s\" is no PEM public key (RSA or EC, \"BEGIN PUBLIC KEY\")",
                  path);
    fclose(file);
    if (st == OK)
        *out = text;
    else
        free(text);
    return st;
}

static char *dup_unless_empty(const char *text)
{
    return text && *text ? mem_strdup(text) : NULL;
}

enum status auth_create(const struct config *config, struct auth **out, struct error *err)
{
    char *public_key = NULL;
    struct auth *auth;

    if (config->jwt_public_key_file && *config->jwt_public_key_file) {
        enum status st = read_key(config->jwt_public_key_file, &public_key, err);

        if (st != OK)
            return st;
    }
    auth = mem_alloc(sizeof(*auth));
    auth->public_key = public_key;
    auth->secret = dup_unless_empty(config->jwt_secret);
    auth->issuer = dup_unless_empty(config->jwt_issuer);
    auth->audience = dup_unless_empty(config->jwt_audience);
    auth->leeway_s = config->jwt_leeway_s;
    *out = auth;
    return OK;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    if (auth->secret)
        explicit_bzero(auth->secret, strlen(auth->secret));
    free(auth->secret);
    free(auth->public_key);
    free(auth->issuer);
    free(auth->audience);
    free(auth);
}

/* ---- signatures ---- */

static bool is_hmac(jwt_alg_t alg)
{
    return alg == JWT_ALG_HS256 || alg == JWT_ALG_HS384 || alg == JWT_ALG_HS512;
}

/* The token's header says how it is signed, so a key must only be used with the family it was made
 * for: a public key as an HMAC secret is known to everybody (RFC 8725, section 2.1).  A key is
 * always given: with none, libjwt would not look at the signature. */
static jwt_t *decode_with(const char *key, bool wants_hmac, const char *token)
{
    jwt_t *jwt = NULL;
    jwt_alg_t alg;

    if (!key || jwt_decode(&jwt, token, (const unsigned char *)key, (int)strlen(key)) != 0)
        return NULL;
    alg = jwt_get_alg(jwt);
    if (alg != JWT_ALG_NONE && is_hmac(alg) == wants_hmac)
        return jwt;
    jwt_free(jwt);
    return NULL;
}

static jwt_t *decode(const struct auth *auth, const char *token)
{
    jwt_t *jwt = decode_with(auth->public_key, false, token);

    return jwt ? jwt : decode_with(auth->secret, true, token);
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

static enum status check_claims(const struct auth *auth, const struct json *claims, int64_t now_s,
                                struct error *err)
{
    if (json_type(claims) != JSON_OBJECT)
        return fail(err, DENIED, "the token has no claims");
    if (auth->issuer && !is_text(json_get(claims, "iss"), auth->issuer))
        return fail(err, DENIED, "the token has another issuer");
    if (auth->audience && !is_for(json_get(claims, "aud"), auth->audience))
        return fail(err, DENIED, "the token is for another audience");
    return check_times(auth, claims, now_s, err);
}

enum status auth_verify(const struct auth *auth, const char *token, int64_t now_s,
                        struct buf *claims, struct error *err)
{
    struct json *json = NULL;
    char *text = NULL;
    enum status st;
    jwt_t *jwt;

    if (!auth->secret && !auth->public_key)
        return fail(err, DENIED, "no key is set to verify tokens with");
    if (strnlen(token, MAX_TOKEN_BYTES + 1) > MAX_TOKEN_BYTES)
        return fail(err, DENIED, "the token is too long");
    jwt = decode(auth, token);
    if (!jwt)
        return fail(err, DENIED, "the token is malformed or its signature is not valid");
    text = jwt_get_grants_json(jwt, NULL);
    jwt_free(jwt);
    if (!text || json_parse(text, strlen(text), &json, NULL) != OK) {
        st = fail(err, DENIED, "the claims of the token are not readable");
        goto out;
    }
    st = check_claims(auth, json, now_s, err);
    if (st == OK)
        buf_adds(claims, text);
out:
    json_free(json);
    free(text);
    return st;
}

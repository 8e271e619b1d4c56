/* SPDX-License-Identifier: Apache-2.0 */
#include "commands_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "config.h"
#include "http_client.h"
#include "json.h"

enum { DEFAULT_TTL_S = 3600, MOST_TTL_S = 315360000 /* ten years */ };

/* Seconds; negative ones make a token that has expired. */
static bool parse_ttl(const char *text, int64_t *out)
{
    char *end;
    long long n;

    if (!text) {
        *out = DEFAULT_TTL_S;
        return true;
    }
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < -MOST_TTL_S || n > MOST_TTL_S)
        return false;
    *out = n;
    return true;
}

static void add_unless_there(struct buf *out, const struct json *claims, const char *key,
                             const char *value)
{
    if (*value && !json_get(claims, key))
        json_str(out, key, value);
}

/* The claims with iat and exp, and with the iss and aud that the settings ask for.  An exp that was
 * given stays, unless there is a ttl. */
static void write_claims(const struct invocation *invocation, const struct json *claims,
                         int64_t ttl_s, struct buf *out)
{
    bool has_exp = json_get(claims, "exp") && !invocation->ttl;
    int64_t now_s = clock_unix_ms() / 1000;
    const struct json *claim;

    json_open(out, NULL, '{');
    for (claim = json_first(claims); claim; claim = json_next(claim))
        if (has_exp || strcmp(json_key(claim), "exp") != 0)
            json_write(out, json_key(claim), claim);
    if (!json_get(claims, "iat"))
        json_int(out, "iat", now_s);
    if (!has_exp)
        json_int(out, "exp", now_s + ttl_s);
    add_unless_there(out, claims, "iss", invocation->config->jwt_issuer);
    add_unless_there(out, claims, "aud", invocation->config->jwt_audience);
    json_close(out, '}');
}

static enum status sign(const struct invocation *invocation, const char *claims, struct buf *token,
                        struct error *err)
{
    bool has_http_client = auth_uses_http(invocation->config);
    struct auth *auth = NULL;
    enum status st = has_http_client ? http_client_setup(err) : OK;

    if (st != OK)
        return st;
    st = auth_create(invocation->config, &auth, err);
    if (st == OK)
        st = auth_sign(auth, invocation->alg ? invocation->alg : "HS256", claims, token, err);
    auth_free(auth);
    if (has_http_client)
        http_client_done();
    return st;
}

static void print_token(struct buf *token, struct buf *claims, bool is_json)
{
    struct buf out;

    buf_init(&out, COMMAND_OUTPUT_BYTES);
    if (is_json) {
        json_open(&out, NULL, '{');
        json_str(&out, "token", buf_str(token));
        json_raw(&out, "claims", claims->data, claims->len);
        json_close(&out, '}');
    } else {
        buf_adds(&out, buf_str(token));
    }
    buf_addc(&out, '\n');
    print(&out);
}

int run_token(const struct invocation *invocation)
{
    const char *text = invocation->claims ? invocation->claims : "{}";
    struct json *json = NULL;
    struct buf claims, token;
    struct error err = {0};
    int64_t ttl_s;
    enum status st;

    if (!parse_ttl(invocation->ttl, &ttl_s))
        return fail_usage("--ttl takes seconds, ten years at most");
    if (json_parse(text, strlen(text), &json, NULL) != OK || json_type(json) != JSON_OBJECT) {
        json_free(json);
        return fail_usage("--claims takes a JSON object");
    }
    buf_init(&claims, COMMAND_OUTPUT_BYTES);
    buf_init(&token, COMMAND_OUTPUT_BYTES);
    write_claims(invocation, json, ttl_s, &claims);
    st = sign(invocation, buf_str(&claims), &token, &err);
    if (st == OK)
        print_token(&token, &claims, invocation->is_json);
    json_free(json);
    buf_done(&claims);
    buf_done(&token);
    return st == OK ? EXIT_OK : fail_command(&err);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "secrets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "http_client.h"
#include "json.h"
#include "sigv4.h"

#define TARGET "secretsmanager.GetSecretValue"
#define CONTENT_TYPE "application/x-amz-json-1.1"

enum { FETCH_TIMEOUT_MS = 5000, URL_BYTES = 2048, REQUEST_BYTES = 8192, LINE_BYTES = 16384 };

void secret_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void secret_done(struct buf *buf)
{
    if (buf->data)
        explicit_bzero(buf->data, buf->cap);
    buf_done(buf);
}

/* ---- the request ---- */

/* Of arn:aws:secretsmanager:eu-central-1:123456789012:secret:name, or else the settings'. */
static void write_region(const struct config *config, const char *id, struct buf *out)
{
    const char *at = strncmp(id, "arn:", 4) == 0 ? id : NULL;

    for (int i = 0; at && i < 3; i++) {
        at = strchr(at, ':');
        at = at ? at + 1 : NULL;
    }
    if (at && strcspn(at, ":") > 0)
        buf_add(out, at, strcspn(at, ":"));
    else
        buf_adds(out, config->aws_region);
}

static bool is_region(const char *region)
{
    size_t len = strlen(region);

    return len < SIGV4_REGION_BYTES &&
           strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* AWS in China has names of its own. */
static void write_url(const struct config *config, const char *region, struct buf *out)
{
    if (*config->secrets_endpoint) {
        buf_adds(out, config->secrets_endpoint);
        buf_adds(out,
                 config->secrets_endpoint[strlen(config->secrets_endpoint) - 1] == '/' ? "" : "/");
    } else {
        buf_addf(out, "https://secretsmanager.%s.amazonaws.com%s/", region,
                 strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    }
}

/* The request and what it is made of. */
struct question {
    struct buf region;
    struct buf url;
    struct buf body;
    struct buf token; /* "X-Amz-Security-Token: ..." */
    char authorization[SIGV4_AUTHORIZATION_BYTES + 32];
    char date[SIGV4_DATE_BYTES + 32];
    const char *lines[5]; /* with NULL behind */
};

static enum status sign(const struct config *config, struct question *question)
{
    const char *authority = strstr(buf_str(&question->url), "://") + strlen("://");
    char *host = mem_strndup(authority, strcspn(authority, "/"));
    const struct sigv4_header headers[] = {
        {"Host", host}, {"Content-Type", CONTENT_TYPE}, {"X-Amz-Target", TARGET}};
    const struct sigv4_request request = {
        .method = "POST",
        .path = authority + strcspn(authority, "/"),
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body = buf_str(&question->body),
        .body_len = question->body.len,
    };
    const struct sigv4_credentials credentials = {
        config->aws_access_key_id, config->aws_secret_access_key, config->aws_session_token};
    struct sigv4_signature signature;
    enum status st = sigv4_sign(&request, &credentials, buf_str(&question->region),
                                "secretsmanager", clock_unix_ms() / 1000, &signature);

    free(host);
    if (st != OK)
        return st;
    snprintf(question->authorization, sizeof(question->authorization), "Authorization: %s",
             signature.authorization);
    snprintf(question->date, sizeof(question->date), "X-Amz-Date: %s", signature.date);
    question->lines[0] = "X-Amz-Target: " TARGET;
    question->lines[1] = question->date;
    question->lines[2] = question->authorization;
    if (signature.session_token) {
        buf_addf(&question->token, "X-Amz-Security-Token: %s", signature.session_token);
        question->lines[3] = buf_str(&question->token);
    }
    return buf_full(&question->token) ? INVALID : OK;
}

static void init_question(const struct config *config, const char *id, struct question *question)
{
    *question = (struct question){.lines = {NULL}};
    buf_init(&question->region, SIGV4_REGION_BYTES);
    buf_init(&question->url, URL_BYTES);
    buf_init(&question->body, REQUEST_BYTES);
    buf_init(&question->token, LINE_BYTES);
    write_region(config, id, &question->region);
    write_url(config, buf_str(&question->region), &question->url);
    json_open(&question->body, NULL, '{');
    json_str(&question->body, "SecretId", id);
    json_close(&question->body, '}');
}

static void end_question(struct question *question)
{
    buf_done(&question->region);
    buf_done(&question->url);
    buf_done(&question->body);
    secret_done(&question->token);
}

static enum status sign_question(const struct config *config, const char *id,
                                 struct question *question, struct error *err)
{
    if (!*config->aws_access_key_id || !*config->aws_secret_access_key)
        return fail(err, INVALID,
                    "aws_access_key_id and aws_secret_access_key are not set: they sign requests "
                    "to Secrets Manager");
    if (buf_full(&question->region) || !is_region(buf_str(&question->region)))
        return fail(err, INVALID, "there is no region in \"%.100s\"", id);
    if (buf_full(&question->url) || buf_full(&question->body) ||
        !strstr(buf_str(&question->url), "://"))
        return fail(err, INVALID, "secrets_endpoint is no URL, or the secret's name is too long");
    if (sign(config, question) != OK)
        return fail(err, INVALID, "the AWS credentials are too long");
    return OK;
}

/* ---- the answer ---- */

/* "com.amazonaws.secretsmanager#ResourceNotFoundException" or the last part alone. */
static const char *error_name(const struct json *answer)
{
    const char *name = answer ? json_text(json_get(answer, "__type")) : NULL;
    const char *hash = name ? strchr(name, '#') : NULL;

    return hash ? hash + 1 : name;
}

struct refusal {
    const char *name;
    enum status status;
    const char *cause;
};

static const struct refusal *find_refusal(const char *name)
{
    static const struct refusal refusals[] = {
        {"ResourceNotFoundException", NOT_FOUND, "the ARN, or the region"},
        {"AccessDeniedException", DENIED,
         "the role needs secretsmanager:GetSecretValue on the secret, and kms:Decrypt when the key "
         "is its own"},
        {"DecryptionFailure", DENIED, "the role needs kms:Decrypt on the secret's key"},
        {"UnrecognizedClientException", DENIED, "aws_access_key_id or the session token"},
        {"InvalidSignatureException", DENIED, "aws_secret_access_key, or this machine's clock"},
        {"SignatureDoesNotMatch", DENIED, "aws_secret_access_key, or this machine's clock"},
        {"ExpiredTokenException", DENIED, "the session token has expired"},
        {"InvalidRequestException", INVALID, "the secret may be about to be deleted"},
        {"ThrottlingException", UNAVAILABLE, "too many requests"},
    };

    for (size_t i = 0; name && i < ARRAY_LEN(refusals); i++)
        if (strcmp(refusals[i].name, name) == 0)
            return &refusals[i];
    return NULL;
}

static enum status fail_refusal(const struct json *answer, long http_status, struct error *err)
{
    const char *name = error_name(answer);
    const struct refusal *refusal = find_refusal(name);
    bool is_passing = http_status == 429 || http_status >= 500;

    if (refusal)
        return fail(err, refusal->status, "Secrets Manager answers %ld %s; likely cause: %s",
                    http_status, name, refusal->cause);
    return fail(err, is_passing ? UNAVAILABLE : INVALID, "Secrets Manager answers %ld %.64s",
                http_status, name ? name : "");
}

enum status secret_read_answer(const char *answer, size_t len, long http_status, struct buf *value,
                               struct error *err)
{
    struct json *json = NULL;
    bool is_object = json_parse(answer, len, &json, NULL) == OK && json_type(json) == JSON_OBJECT;
    const char *text = is_object ? json_text(json_get(json, "SecretString")) : NULL;
    enum status st = OK;

    if (http_status != 200)
        st = fail_refusal(is_object ? json : NULL, http_status, err);
    else if (!text)
        st =
            fail(err, INVALID, "Secrets Manager answers without a SecretString (a binary secret?)");
    else
        buf_adds(value, text);
    json_free(json);
    if (st == OK && buf_full(value))
        st = fail(err, LIMIT, "the secret is larger than %zu bytes", value->limit);
    return st;
}

enum status secret_fetch(const struct config *config, const char *id,
                         const atomic_bool *is_cancelled, struct buf *value, struct error *err)
{
    struct http_client_request request = {
        .content_type = CONTENT_TYPE,
        .ca_file = config->tls_ca_file,
        .timeout_ms = FETCH_TIMEOUT_MS,
        .is_cancelled = is_cancelled,
    };
    struct question question;
    struct buf answer;
    enum status st;
    long http_status = 0;

    buf_init(&answer, SECRET_ANSWER_BYTES);
    init_question(config, id, &question);
    st = sign_question(config, id, &question, err);
    if (st == OK) {
        request.url = buf_str(&question.url);
        request.body = buf_str(&question.body);
        request.headers = question.lines;
        st = http_client_request(&request, &answer, &http_status, err);
    }
    if (st == OK)
        st = secret_read_answer(buf_str(&answer), answer.len, http_status, value, err);
    end_question(&question);
    secret_done(&answer);
    return st;
}

/* ---- what a secret says ---- */

/* NULL when it is something else than an object: the secret is the text itself. */
static struct json *read_object(const char *value, size_t len)
{
    struct json *json = NULL;

    if (json_parse(value, len, &json, NULL) == OK && json_type(json) == JSON_OBJECT)
        return json;
    json_free(json);
    return NULL;
}

enum status secret_read_member(const char *value, size_t len, const char *member, char **out,
                               struct error *err)
{
    struct json *json = read_object(value, len);
    const char *found = NULL;
    enum status st = OK;

    if (json && json_get_str(json, member, &found, NULL) != OK)
        st = fail(err, INVALID, "the secret is a JSON object without a text \"%s\"", member);
    else if (json ? *found == '\0' : len == 0)
        st = fail(err, INVALID, "the secret is empty");
    else
        *out = json ? mem_strdup(found) : mem_strndup(value, len);
    json_free(json);
    return st;
}

enum status secret_read_login(const char *value, size_t len, char **user, char **password,
                              struct error *err)
{
    struct json *json = read_object(value, len);
    const char *found = NULL;
    enum status st = OK;

    if (json && json_opt_str(json, "username", &found, NULL) != OK)
        st = fail(err, INVALID, "the secret's \"username\" is no text");
    if (st == OK)
        st = secret_read_member(value, len, "password", password, err);
    if (st == OK)
        *user = mem_strdup(found);
    json_free(json);
    return st;
}

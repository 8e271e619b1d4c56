/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender_answer.c - what an answer of @connections means, and one line about it in the log.
 *
 * The server's own words are never logged: about a wrong signature it repeats all that should have
 * been signed, session token included.
 */
#include "sender_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

enum {
    NOTE_INTERVAL_MS = 60000,
    SKEW_S = 60, /* less is not worth a thought: five minutes are allowed */
    HTTP_BAD_REQUEST = 400,
    HTTP_UNAUTHORIZED = 401,
    HTTP_FORBIDDEN = 403,
    HTTP_REQUEST_TIMEOUT = 408,
    HTTP_GONE = 410,
    HTTP_TOO_MANY_REQUESTS = 429,
    HTTP_SERVER_ERROR = 500
};

/* ---- what it means ---- */

/* The type of the error is in a header, or its text in the body says the same. */
struct sign {
    const char *type;
    const char *text;
    enum sender_trouble trouble;
};

/* The first one counts: an expired signature is an InvalidSignatureException like any other. */
static const struct sign signs[] = {
    {"RequestExpired", "Signature expired", TROUBLE_CLOCK},
    {"RequestTimeTooSkewed", "Signature not yet current", TROUBLE_CLOCK},
    {"AccessDenied", "is not authorized to perform", TROUBLE_PERMISSION},
    {"MissingAuthenticationToken", "Missing Authentication Token", TROUBLE_UNSIGNED},
    {"ExpiredToken", "security token included in the request is expired", TROUBLE_EXPIRED},
    {"UnrecognizedClient", "security token included in the request is invalid", TROUBLE_SIGNATURE},
    {"InvalidSignature", "request signature we calculated", TROUBLE_SIGNATURE},
    {"IncompleteSignature", "Credential should be scoped", TROUBLE_SIGNATURE},
};

static bool says(const struct http_pool_answer *answer, const char *text)
{
    return answer->body_len && memmem(answer->body, answer->body_len, text, strlen(text));
}

static const char *type_of(const struct http_pool_answer *answer)
{
    const char *type = http_answer_header(answer, "x-amzn-ErrorType");

    return type ? type : "";
}

static struct sender_judgement judge_forbidden(const struct http_pool_answer *answer)
{
    const char *type = type_of(answer);

    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        if (!strstr(type, signs[i].type) && !says(answer, signs[i].text))
            continue;
        return (struct sender_judgement){signs[i].trouble == TROUBLE_CLOCK ? VERDICT_CLOCK_AGAIN
                                                                           : VERDICT_REFUSED,
                                         signs[i].trouble};
    }
    return (struct sender_judgement){VERDICT_REFUSED, TROUBLE_FORBIDDEN};
}

static struct sender_judgement judge_status(const struct http_pool_answer *answer)
{
    int status = answer->status;

    if (status >= 200 && status < 300)
        return (struct sender_judgement){VERDICT_SENT, TROUBLE_NONE};
    if (status == HTTP_GONE || (status == HTTP_BAD_REQUEST && says(answer, "Invalid connectionId")))
        return (struct sender_judgement){VERDICT_GONE, TROUBLE_NONE};
    if (status == HTTP_UNAUTHORIZED || status == HTTP_FORBIDDEN)
        return judge_forbidden(answer);
    if (status == HTTP_TOO_MANY_REQUESTS)
        return (struct sender_judgement){VERDICT_AGAIN, TROUBLE_THROTTLED};
    if (status >= HTTP_SERVER_ERROR || status == HTTP_REQUEST_TIMEOUT)
        return (struct sender_judgement){VERDICT_AGAIN, TROUBLE_SERVER};
    return (struct sender_judgement){VERDICT_REFUSED, TROUBLE_REFUSED};
}

struct sender_judgement sender_judge(const struct http_pool_answer *answer)
{
    switch (answer->outcome) {
    case HTTP_ANSWERED:
        return judge_status(answer);
    case HTTP_TIMED_OUT:
        return (struct sender_judgement){VERDICT_AGAIN, TROUBLE_TIMED_OUT};
    case HTTP_UNREACHABLE:
        return (struct sender_judgement){VERDICT_AGAIN, TROUBLE_UNREACHABLE};
    case HTTP_BROKEN:
        return (struct sender_judgement){VERDICT_AGAIN, TROUBLE_BROKEN};
    case HTTP_TOO_LARGE:
        return (struct sender_judgement){VERDICT_REFUSED, TROUBLE_REFUSED};
    }
    abort();
}

int64_t sender_skew_s(const struct http_pool_answer *answer, int64_t now_s)
{
    const char *date = http_answer_header(answer, "Date");
    const char *end = NULL;
    struct tm utc = {0};
    int64_t skew_s;

    if (date)
        end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    if (!end || *end)
        return 0;
    skew_s = (int64_t)timegm(&utc) - now_s;
    return skew_s > -SKEW_S && skew_s < SKEW_S ? 0 : skew_s;
}

/* ---- what is logged ---- */

static const struct trouble {
    enum log_level level;
    const char *event;
    const char *hint;
} troubles[TROUBLE_KINDS] = {
    [TROUBLE_CLOCK] = {LOG_WARN, "sender.clock",
                       "the clocks differ, or the process stood still; signing once more"},
    [TROUBLE_PERMISSION] = {LOG_ERROR, "sender.forbidden",
                            "the role lacks execute-api:ManageConnections on "
                            "arn:aws:execute-api:<region>:<account>:<api>/<stage>/*"},
    [TROUBLE_UNSIGNED] = {LOG_ERROR, "sender.forbidden",
                          "no credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or the "
                          "endpoint lacks its stage"},
    [TROUBLE_EXPIRED] = {LOG_ERROR, "sender.forbidden", "the credentials have expired"},
    [TROUBLE_SIGNATURE] = {LOG_ERROR, "sender.forbidden",
                           "wrong credentials, session token or region"},
    [TROUBLE_FORBIDDEN] = {LOG_ERROR, "sender.forbidden",
                           "no such API or stage at the endpoint, or a VPC endpoint for "
                           "execute-api with private DNS is in the way: it does not serve "
                           "WebSocket APIs"},
    [TROUBLE_REFUSED] = {LOG_ERROR, "sender.refused",
                         "413: larger than 128 KB; else the endpoint is not a management API"},
    [TROUBLE_ENDPOINT] = {LOG_ERROR, "sender.endpoint",
                          "not http(s)://host/stage, an empty id, or credentials that are too "
                          "long"},
    [TROUBLE_THROTTLED] = {LOG_WARN, "sender.throttled", "trying again later"},
    [TROUBLE_SERVER] = {LOG_WARN, "sender.server_error", "trying again later"},
    [TROUBLE_TIMED_OUT] = {LOG_WARN, "sender.timed_out",
                           "no way to the internet? A function in a VPC needs a NAT; trying again"},
    [TROUBLE_UNREACHABLE] = {LOG_WARN, "sender.unreachable",
                             "no way to the internet? A function in a VPC needs a NAT; trying "
                             "again"},
    [TROUBLE_BROKEN] = {LOG_WARN, "sender.broken",
                        "trying again; a client may get a message twice"},
    [TROUBLE_LATE] = {LOG_WARN, "sender.late",
                      "not sent before the deadline: sender_parallel, or the time that is left"},
};

static bool is_due(struct sender_note *note)
{
    int64_t now_ms = clock_mono_ms();

    note->times++;
    if (note->logged_ms && now_ms - note->logged_ms < NOTE_INTERVAL_MS)
        return false;
    note->logged_ms = now_ms;
    return true;
}

void sender_note(struct sender_notes *notes, enum sender_trouble trouble, const char *url,
                 const struct http_pool_answer *answer)
{
    const struct trouble *row = &troubles[trouble];
    struct sender_note *note = &notes->of[trouble];
    const char *id = strstr(url, "/@connections/");
    char *endpoint;

    if (!is_due(note))
        return;
    endpoint = mem_strndup(url, id ? (size_t)(id - url) : strlen(url));
    if (answer && answer->outcome == HTTP_ANSWERED)
        log_line(row->level, row->event, "endpoint=%s times=%" PRIu64 " status=%d type=%s hint=%s",
                 log_quote(endpoint), note->times, answer->status, log_quote(type_of(answer)),
                 log_quote(row->hint));
    else
        log_line(row->level, row->event, "endpoint=%s times=%" PRIu64 " error=%s hint=%s",
                 log_quote(endpoint), note->times, log_quote(answer ? answer->error : ""),
                 log_quote(row->hint));
    free(endpoint);
    note->times = 0;
}

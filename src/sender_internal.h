/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender_internal.h - what the files of the sender share.
 *
 * sender.c: queues, tries, pauses.  sender_url.c: where a message goes.  sender_answer.c: what an
 * answer means, and what is logged about it.
 */
#pragma once

#include "buf.h"
#include "http_client.h"
#include "sender.h"
#include "sigv4.h"

/* ---- sender_url.c ---- */

/* Offsets into the URL; all are 0 when the endpoint or the id is none. */
struct sender_url {
    size_t host; /* with the port, unless it is the scheme's */
    size_t path; /* the host ends here */
};

/* What all URLs of an endpoint begin with.  It is kept from one message to the next, because most
 * of them go to the same. */
struct sender_base {
    char *endpoint;  /* NULL: none yet */
    struct buf text; /* "https://host/stage/@connections/"; "": the endpoint is none */
    struct sender_url url;
    char region[SIGV4_REGION_BYTES]; /* in the host's name; "": none */
};
void sender_base_init(struct sender_base *base);
void sender_base_done(struct sender_base *base);
void sender_base_set(struct sender_base *base, const char *endpoint);

/* "https://host/stage/@connections/id" into out, which is emptied first. */
struct sender_url sender_url_write(struct buf *out, const struct sender_base *base,
                                   const char *connection_id);

/* ---- sender_answer.c ---- */

enum sender_verdict {
    VERDICT_SENT,
    VERDICT_GONE,
    VERDICT_REFUSED,
    VERDICT_AGAIN,      /* later */
    VERDICT_CLOCK_AGAIN /* now, with the time of now; refused when that was done before */
};

/* What goes wrong, as far as somebody would do something else about it. */
enum sender_trouble {
    TROUBLE_NONE,
    TROUBLE_CLOCK,
    TROUBLE_PERMISSION,
    TROUBLE_UNSIGNED,
    TROUBLE_EXPIRED,
    TROUBLE_SIGNATURE,
    TROUBLE_FORBIDDEN,
    TROUBLE_REFUSED,
    TROUBLE_ENDPOINT,
    TROUBLE_THROTTLED,
    TROUBLE_SERVER,
    TROUBLE_TIMED_OUT,
    TROUBLE_UNREACHABLE,
    TROUBLE_BROKEN,
    TROUBLE_LATE,
    TROUBLE_KINDS
};

struct sender_judgement {
    enum sender_verdict verdict;
    enum sender_trouble trouble;
};
struct sender_judgement sender_judge(const struct http_pool_answer *answer);

/* By how much the server's clock is ahead of ours; 0 when it does not say, or it is not much. */
int64_t sender_skew_s(const struct http_pool_answer *answer, int64_t now_s);

/* When a trouble was logged last, and how often it came since. */
struct sender_note {
    int64_t logged_ms;
    uint64_t times;
};
struct sender_notes {
    struct sender_note of[TROUBLE_KINDS];
};
/* One line for a kind of trouble, at most once a minute.  answer NULL: there was none. */
void sender_note(struct sender_notes *notes, enum sender_trouble trouble, const char *url,
                 const struct http_pool_answer *answer);

/* SPDX-License-Identifier: Apache-2.0 */
#include "jwks_source.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "buf.h"
#include "config.h"
#include "http_client.h"
#include "jwks.h"
#include "log.h"
#include "loop.h"

enum { FETCH_TIMEOUT_MS = 5000, RETRY_MS = 10000 };

/* What is under way on the thread pool; the source may be freed before it ends. */
struct fetch {
    struct jwks_source *source; /* NULL once it is gone */
    char *url;
    char *ca_file; /* NULL: the system's */
    atomic_bool is_cancelled;
    /* written by the other thread, read when it is done */
    struct buf answer;
    enum status st;
    struct error err;
};

struct jwks_source {
    char *file; /* NULL: none */
    struct stat seen;
    struct jwks *from_file;
    bool is_file_error_logged;
    char *url;     /* NULL: none */
    char *ca_file; /* NULL: the system's */
    int64_t cache_ms;
    struct jwks *from_url;
    bool is_url_error_logged;
    struct loop *loop; /* NULL until it is started */
    struct timer *timer;
    struct fetch *fetch; /* NULL: none is under way */
    int64_t asked_ms;    /* when the last fetch for a key that is not there began; 0: never */
    struct jwks_waiter *waiters;
};

static char *dup_unless_empty(const char *text)
{
    return text && *text ? mem_strdup(text) : NULL;
}

/* ---- the file ---- */

static enum status read_file(const char *path, struct jwks **out, struct error *err)
{
    FILE *file = fopen(path, "re");
    struct buf text;
    enum status st;
    char *to;

    if (!file)
        return fail(err, INVALID, "cannot open the key set \"%s\": %s", path, strerror(errno));
    buf_init(&text, JWKS_MAX_BYTES + 1);
    to = buf_reserve(&text, JWKS_MAX_BYTES + 1);
    assert(to);
    buf_commit(&text, fread(to, 1, JWKS_MAX_BYTES + 1, file));
    if (ferror(file))
        st = fail(err, INVALID, "cannot read the key set \"%s\"", path);
    else if (text.len > JWKS_MAX_BYTES)
        st = fail(err, INVALID, "\"%s\" is larger than %d bytes", path, JWKS_MAX_BYTES);
    else if (jwks_parse(text.data, text.len, out, err) != OK)
        st = fail(err, INVALID, "\"%s\" is no key set with a key for RS256 or ES256", path);
    else
        st = OK;
    fclose(file);
    buf_done(&text);
    return st;
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           is_same_time(a->st_mtim, b->st_mtim) && is_same_time(a->st_ctim, b->st_ctim);
}

/* One that is gone, or half written, changes nothing: the keys stay until there is a good one. */
static void look_at_file(struct jwks_source *source)
{
    struct jwks *fresh = NULL;
    struct error err = {0};
    struct stat now;

    if (!source->file || stat(source->file, &now) != 0 || is_unchanged(&now, &source->seen))
        return;
    source->seen = now;
    if (read_file(source->file, &fresh, &err) != OK) {
        if (!source->is_file_error_logged)
            log_warn("jwks.file_failed", "error=%s next=%s", log_quote(err.text),
                     log_quote("the keys stay as they were"));
        source->is_file_error_logged = true;
        return;
    }
    source->is_file_error_logged = false;
    jwks_free(source->from_file);
    source->from_file = fresh;
    log_info("jwks.file_read", "keys=%zu", jwks_count(fresh));
}

/* ---- the URL ---- */

static void run_fetch(void *ctx)
{
    struct fetch *fetch = ctx;
    const struct http_client_request request = {.url = fetch->url,
                                                .ca_file = fetch->ca_file,
                                                .timeout_ms = FETCH_TIMEOUT_MS,
                                                .is_cancelled = &fetch->is_cancelled};
    long http_status = 0;

    fetch->st = http_client_request(&request, &fetch->answer, &http_status, &fetch->err);
    if (fetch->st == OK && http_status != 200)
        fetch->st = fail(&fetch->err, UNAVAILABLE, "%s: status %ld", fetch->url, http_status);
}

static void free_fetch(struct fetch *fetch)
{
    buf_done(&fetch->answer);
    free(fetch->ca_file);
    free(fetch->url);
    free(fetch);
}

static void take_keys(struct jwks_source *source, struct fetch *fetch)
{
    struct jwks *fresh = NULL;

    if (fetch->st == OK)
        fetch->st = jwks_parse(buf_str(&fetch->answer), fetch->answer.len, &fresh, &fetch->err);
    if (fetch->st == OK) {
        jwks_free(source->from_url);
        source->from_url = fresh;
        source->is_url_error_logged = false;
        log_info("jwks.fetched", "keys=%zu", jwks_count(fresh));
    } else if (!source->is_url_error_logged) {
        source->is_url_error_logged = true;
        log_warn("jwks.fetch_failed", "error=%s retry_ms=%d", log_quote(fetch->err.text), RETRY_MS);
    }
}

/* They may wait again, for the next fetch. */
static void call_waiters(struct jwks_source *source)
{
    struct jwks_waiter *waiters = source->waiters;

    source->waiters = NULL;
    if (waiters)
        waiters->link = &waiters;
    while (waiters) {
        struct jwks_waiter *waiter = waiters;

        jwks_source_unwait(waiter);
        waiter->fn(waiter->ctx);
    }
}

static void on_fetched(void *ctx)
{
    struct fetch *fetch = ctx;
    struct jwks_source *source = fetch->source;

    if (source) {
        source->fetch = NULL;
        take_keys(source, fetch);
        loop_timer_set(source->timer,
                       fetch->st == OK || source->cache_ms < RETRY_MS ? source->cache_ms : RETRY_MS,
                       0);
    }
    free_fetch(fetch);
    if (source)
        call_waiters(source);
}

static void start_fetch(void *ctx)
{
    struct jwks_source *source = ctx;
    struct fetch *fetch;

    if (source->fetch)
        return;
    fetch = mem_alloc(sizeof(*fetch));
    fetch->source = source;
    fetch->url = mem_strdup(source->url);
    fetch->ca_file = dup_unless_empty(source->ca_file);
    buf_init(&fetch->answer, JWKS_MAX_BYTES);
    atomic_init(&fetch->is_cancelled, false);
    source->fetch = fetch;
    loop_work(source->loop, run_fetch, on_fetched, fetch);
}

bool jwks_source_refresh(struct jwks_source *source)
{
    int64_t now = clock_mono_ms();

    if (!source->url || !source->loop)
        return false;
    if (source->fetch)
        return true;
    if (source->asked_ms && now - source->asked_ms < RETRY_MS)
        return false;
    source->asked_ms = now;
    start_fetch(source);
    return true;
}

/* ---- waiting ---- */

void jwks_source_wait(struct jwks_source *source, struct jwks_waiter *waiter)
{
    assert(source->fetch && !waiter->link);
    waiter->next = source->waiters;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    waiter->link = &source->waiters;
    source->waiters = waiter;
}

void jwks_source_unwait(struct jwks_waiter *waiter)
{
    if (!waiter->link)
        return;
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    waiter->link = NULL;
    waiter->next = NULL;
}

/* ---- keys ---- */

bool jwks_source_is_set(const struct jwks_source *source)
{
    return source->file || source->url;
}

const struct crypto_key *jwks_source_next(struct jwks_source *source, const char *kid,
                                          enum crypto_kind kind, struct jwks_cursor *cursor)
{
    const struct crypto_key *key = NULL;

    if (!cursor->is_past_file) {
        if (cursor->at == 0)
            look_at_file(source);
        if (source->from_file)
            key = jwks_next(source->from_file, kid, kind, &cursor->at);
        if (key)
            return key;
        *cursor = (struct jwks_cursor){.is_past_file = true};
    }
    return source->from_url ? jwks_next(source->from_url, kid, kind, &cursor->at) : NULL;
}

/* ---- life ---- */

enum status jwks_source_create(const struct config *config, struct jwks_source **out,
                               struct error *err)
{
    struct jwks_source *source = mem_alloc(sizeof(*source));
    enum status st = OK;

    source->file = dup_unless_empty(config->jwt_jwks_file);
    source->url = dup_unless_empty(config->jwt_jwks_url);
    source->ca_file = dup_unless_empty(config->tls_ca_file);
    source->cache_ms = config->jwt_jwks_cache_s * 1000;
    if (source->file && stat(source->file, &source->seen) != 0)
        st =
            fail(err, INVALID, "cannot open the key set \"%s\": %s", source->file, strerror(errno));
    else if (source->file)
        st = read_file(source->file, &source->from_file, err);
    if (st == OK && source->url && strncasecmp(source->url, "http://", 7) != 0 &&
        strncasecmp(source->url, "https://", 8) != 0)
        st = fail(err, INVALID, "jwt_jwks_url is neither http:// nor https://");
    if (st == OK)
        *out = source;
    else
        jwks_source_free(source);
    return st;
}

void jwks_source_start(struct jwks_source *source, struct loop *loop)
{
    if (!source->url)
        return;
    source->loop = loop;
    source->timer = loop_timer(loop, source->cache_ms, 0, start_fetch, source);
    start_fetch(source);
}

void jwks_source_free(struct jwks_source *source)
{
    if (!source)
        return;
    loop_timer_stop(source->timer);
    if (source->fetch) {
        atomic_store(&source->fetch->is_cancelled, true);
        source->fetch->source = NULL;
    }
    while (source->waiters)
        jwks_source_unwait(source->waiters);
    jwks_free(source->from_file);
    jwks_free(source->from_url);
    free(source->file);
    free(source->ca_file);
    free(source->url);
    free(source);
}

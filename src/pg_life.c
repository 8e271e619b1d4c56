/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg_life.c - a connection on the loop, from its connection string to its end.
 *
 * Where the string leads, whose host is resolved first, what happens in which state, and when the
 * owner is told.  What there is to say to libpq, pg.c says.
 */
#include "pg.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "pg_internal.h"

enum { MAX_HOST_BYTES = 253 }; /* of a DNS name, RFC 1035 */

/* Outlives the pg that asked, when that was closed meanwhile. */
struct resolving {
    struct pg *pg;
};

/* ---- connection strings ---- */

/* As libpq tells a string from the bare name of a database. */
static bool is_conninfo(const char *url)
{
    return strstr(url, "://") || strchr(url, '=');
}

/* The first of a list; it may be empty there ("host=a,b" has "," for ports in a URI). */
static char *first_of(const char *list, const char *fallback)
{
    size_t len = strcspn(list ? list : "", ",");

    return len ? mem_strndup(list, len) : mem_strdup(fallback);
}

enum status pg_target_of(const char *url, struct pg_target *out, struct error *err)
{
    struct pg_conninfo *given = is_conninfo(url) ? pg_conninfo_parse(url) : NULL;
    struct pg_conninfo *defaults = pg_conninfo_defaults();
    const struct {
        const char *keyword;
        const char *fallback;
        char **to;
    } values[] = {
        {"host", "", &out->host},
        {"port", "5432", &out->port},
        {"user", "", &out->user},
        {"sslmode", "prefer", &out->sslmode},
    };
    enum status st = OK;

    /* libpq's own message might have a part of the password in it. */
    if (is_conninfo(url) && !given)
        st = fail(err, INVALID, "the connection string cannot be read");
    else if (pg_conninfo_value(given, "service"))
        st = fail(err, INVALID, "the connection string names a service; it has to say it all");
    for (size_t i = 0; st == OK && i < ARRAY_LEN(values); i++) {
        const char *value = pg_conninfo_value(given, values[i].keyword);

        *values[i].to = first_of(value ? value : pg_conninfo_value(defaults, values[i].keyword),
                                 values[i].fallback);
    }
    pg_conninfo_free(given);
    pg_conninfo_free(defaults);
    return st;
}

void pg_target_done(struct pg_target *target)
{
    free(target->host);
    free(target->port);
    free(target->user);
    free(target->sslmode);
    *target = (struct pg_target){0};
}

bool pg_has_tls(const char *url)
{
    struct pg_target target = {0};
    bool found = pg_target_of(url, &target, NULL) == OK &&
                 (strcmp(target.sslmode, "require") == 0 ||
                  strncmp(target.sslmode, "verify-", strlen("verify-")) == 0);

    pg_target_done(&target);
    return found;
}

/* ---- breaking ---- */

void pg_break_connection(struct pg *pg, const struct error *err)
{
    if (pg->state >= PG_BROKEN)
        return;
    pg->failure = *err;
    pg->state = PG_BROKEN;
    loop_unwatch(pg->watch);
    pg->watch = NULL;
    loop_timer_stop(pg->deadline);
    pg->deadline = NULL;
    loop_at_end_of_turn(pg->loop, &pg->turn);
}

static void tell_broken(struct pg *pg)
{
    pg->state = PG_DEAD;
    pg_fail_calls(pg);
    if (pg->state == PG_CLOSED)
        return;
    if (pg->was_ready)
        pg->events.on_lost(pg->ctx, &pg->failure);
    else
        pg->events.on_connect(pg->ctx, &pg->failure);
}

/* ---- connecting, and what happens in which state ---- */

void pg_on_ready(void *ctx, int events)
{
    struct pg *pg = ctx;

    switch (pg->state) {
    case PG_CONNECTING:
        pg_poll_connection(pg);
        break;
    case PG_SETTING_UP:
        pg_continue_set_up(pg);
        break;
    case PG_READY:
        if (events & LOOP_READ)
            pg_read_input(pg);
        if ((events & LOOP_WRITE) && pg->state == PG_READY)
            pg_flush(pg);
        break;
    case PG_STARTING:
    case PG_BROKEN:
    case PG_DEAD:
    case PG_CLOSED:
        break;
    }
}

static void on_resolved(void *ctx, const struct error *err, const char *address)
{
    struct resolving *resolving = ctx;
    struct pg *pg = resolving->pg;

    free(resolving);
    if (!pg)
        return;
    pg->resolving = NULL;
    if (pg->state != PG_STARTING) /* the deadline was faster */
        return;
    if (err)
        pg_break_connection(pg, err);
    else
        pg_connect_to(pg, address);
}

/* True for one host name: libpq would ask the resolver itself, and wait.  Not for paths, addresses
 * and lists of hosts, nor for what no host name can be. */
static bool is_host_name(const char *host)
{
    struct in6_addr ignored;

    if (!host || *host == '\0' || *host == '/' || *host == '@')
        return false;
    if (strlen(host) > MAX_HOST_BYTES || inet_pton(AF_INET, host, &ignored) == 1 ||
        inet_pton(AF_INET6, host, &ignored) == 1)
        return false;
    return host[strspn(
               host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")] == '\0';
}

/* The host that needs resolving, yours to free, or NULL. */
static char *host_to_resolve(const char *url)
{
    struct pg_conninfo *options = is_conninfo(url) ? pg_conninfo_parse(url) : NULL;
    const char *host = pg_conninfo_value(options, "host");
    const char *address = pg_conninfo_value(options, "hostaddr");
    char *found = NULL;

    if (!host)
        host = getenv("PGHOST");
    if (!address)
        address = getenv("PGHOSTADDR");
    if (!(address && *address) && !pg_conninfo_value(options, "service") && is_host_name(host))
        found = mem_strdup(host);
    pg_conninfo_free(options);
    return found;
}

static void begin(struct pg *pg)
{
    char *host = host_to_resolve(pg->url);

    if (!host) {
        pg_connect_to(pg, NULL);
        return;
    }
    pg->resolving = mem_alloc(sizeof(*pg->resolving));
    pg->resolving->pg = pg;
    loop_resolve(pg->loop, host, on_resolved, pg->resolving);
    free(host);
}

static void on_deadline(void *ctx)
{
    struct pg *pg = ctx;
    struct error err = {0};

    fail(&err, UNAVAILABLE, "no answer from the database within %lld ms",
         (long long)pg->connect_timeout_ms);
    pg_break_connection(pg, &err);
}

static void on_end_of_turn(void *ctx)
{
    struct pg *pg = ctx;

    switch (pg->state) {
    case PG_STARTING:
        if (!pg->resolving)
            begin(pg);
        break;
    case PG_READY:
        pg_flush(pg);
        break;
    case PG_BROKEN:
        tell_broken(pg);
        break;
    case PG_DEAD:
        pg_fail_calls(pg);
        break;
    case PG_CONNECTING:
    case PG_SETTING_UP:
    case PG_CLOSED:
        break;
    }
}

/* ---- life, on the loop ---- */

static void free_pg(struct pg *pg)
{
    while (pg->statements) {
        struct statement *statement = pg->statements;

        pg->statements = statement->next;
        free(statement->name);
        free(statement);
    }
    free(pg->url);
    free(pg->application_name);
    free(pg->channel);
    free(pg->session_sql);
    free(pg->call_sql);
    free(pg->user);
    if (pg->password)
        explicit_bzero(pg->password, strlen(pg->password));
    free(pg->password);
    free(pg);
}

static void on_free(void *ctx)
{
    struct pg *pg = ctx;

    pg_fail_calls(pg); /* made by the callbacks of pg_close */
    free_pg(pg);
}

struct pg *pg_start(struct loop *loop, const struct pg_options *options,
                    const struct pg_events *events, void *ctx)
{
    struct pg *pg = mem_alloc(sizeof(*pg));

    pg->loop = loop;
    pg->events = *events;
    pg->ctx = ctx;
    pg->last = &pg->first;
    pg->turn = (struct deferred){.fn = on_end_of_turn, .ctx = pg};
    pg->end = (struct deferred){.fn = on_free, .ctx = pg};
    pg->url = mem_strdup(options->url);
    pg->application_name = mem_strdup(options->application_name);
    pg->channel = mem_strdup(options->listen);
    pg->session_sql = mem_strdup(options->session_sql);
    pg->call_sql = mem_strdup(options->call_sql);
    pg->user = mem_strdup(options->user);
    pg->password = mem_strdup(options->password);
    pg->needs_tls = options->needs_tls;
    pg->connect_timeout_ms = options->connect_timeout_ms;
    pg->statement_timeout_ms = options->statement_timeout_ms;
    pg->deadline = loop_timer(loop, options->connect_timeout_ms, 0, on_deadline, pg);
    loop_at_end_of_turn(loop, &pg->turn);
    return pg;
}

void pg_close(struct pg *pg)
{
    if (!pg || pg->state == PG_CLOSED)
        return;
    if (!pg->loop) {
        pg_disconnect(pg);
        free_pg(pg);
        return;
    }
    pg->state = PG_CLOSED;
    loop_undefer(pg->loop, &pg->turn);
    loop_timer_stop(pg->deadline);
    loop_unwatch(pg->watch);
    if (pg->resolving)
        pg->resolving->pg = NULL;
    pg_disconnect(pg);
    loop_at_end_of_turn(pg->loop, &pg->end);
    pg_fail_calls(pg);
}

void pg_set_call_sql(struct pg *pg, const char *call_sql)
{
    free(pg->call_sql);
    pg->call_sql = mem_strdup(call_sql);
}

size_t pg_in_flight(const struct pg *pg)
{
    return pg->in_flight;
}

int64_t pg_oldest_ms(const struct pg *pg)
{
    return pg->first ? loop_now_ms(pg->loop) - pg->first->sent_ms : 0;
}

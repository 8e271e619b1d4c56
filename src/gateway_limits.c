/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_limits.h"

#include <stdlib.h>

#include "config.h"
#include "connections.h"
#include "profile.h"
#include "rate_limit.h"

enum { USER_BUCKETS = 100000 };

/* What the settings say. */
struct rates {
    struct rate connection;
    struct rate user;
    struct rate account;
    struct rate stage;
    struct rate connects;
    struct rate_routes routes;
};

struct gateway_limits {
    struct rates rates;
    struct rate_table *users;
    struct rate_bucket account;
    struct rate_bucket stage;
    struct rate_bucket connects;
};

struct gateway_limits *gateway_limits_create(void)
{
    struct gateway_limits *limits = mem_alloc(sizeof(*limits));

    limits->users = rate_table_create(USER_BUCKETS);
    return limits;
}

void gateway_limits_free(struct gateway_limits *limits)
{
    rate_table_free(limits->users);
    free(limits);
}

enum status gateway_limits_set(struct gateway_limits *limits, const struct config *config,
                               const struct profile_settings *settings, struct error *err)
{
    struct rates rates;

    if (rate_parse(settings->rate_limit_connection, &rates.connection, err) != OK)
        return fail_context(err, "rate_limit_connection");
    if (rate_parse(settings->rate_limit_user, &rates.user, err) != OK)
        return fail_context(err, "rate_limit_user");
    if (rate_parse(settings->rate_limit_stage, &rates.stage, err) != OK)
        return fail_context(err, "rate_limit_stage");
    if (rate_parse(config->rate_limit_account, &rates.account, err) != OK)
        return fail_context(err, "rate_limit_account");
    if (rate_parse(config->rate_limit_connects, &rates.connects, err) != OK)
        return fail_context(err, "rate_limit_connects");
    if (rate_routes_parse(settings->rate_limit_routes, &rates.routes, err) != OK)
        return fail_context(err, "rate_limit_routes");
    limits->rates = rates;
    return OK;
}

static bool take(struct rate_bucket *bucket, const struct rate *rate)
{
    return rate->burst <= 0 || rate_bucket_take(bucket, rate, clock_mono_ms()) == 0;
}

bool gateway_limits_take_account(struct gateway_limits *limits)
{
    return take(&limits->account, &limits->rates.account);
}

bool gateway_limits_take_all(struct gateway_limits *limits)
{
    return gateway_limits_take_account(limits) && take(&limits->stage, &limits->rates.stage);
}

bool gateway_limits_take_connect(struct gateway_limits *limits)
{
    return gateway_limits_take_all(limits) && take(&limits->connects, &limits->rates.connects);
}

static int64_t take_user(struct gateway_limits *limits, const struct connection *connection,
                         int64_t now_ms)
{
    const char *user_id = limits->rates.user.burst > 0 ? connection_user_id(connection) : NULL;

    return user_id ? rate_table_take(limits->users, &limits->rates.user, user_id, now_ms) : 0;
}

/* The narrowest first: what one connection does too much costs its user and the route nothing. */
int64_t gateway_limits_take(struct gateway_limits *limits, struct connection *connection,
                            const char *route_key)
{
    int64_t now_ms = clock_mono_ms();
    int64_t wait_ms = rate_bucket_take(&connection->rate, &limits->rates.connection, now_ms);

    if (wait_ms == 0)
        wait_ms = take_user(limits, connection, now_ms);
    if (wait_ms == 0)
        wait_ms = rate_routes_take(&limits->rates.routes, route_key, now_ms);
    return (wait_ms + 999) / 1000;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.h - what the schemas in front and the profile ask of the gateway: their "$settings"().
 *
 * The database merges them (switchboard.profile_settings) into one JSON object; here it becomes a
 * struct.  A setting of the program that was given wins over it (profile_settings_override).  One
 * struct for each process: serve.c owns it, node.c renews it in place at registration and with
 * every heartbeat, everybody else reads it when they need it and keeps no copy.
 */
#pragma once

#include "base.h"

struct config;

enum auth_mode {
    AUTH_OFF,      /* tokens of a handshake are the route's business */
    AUTH_OPTIONAL, /* a good one becomes claims, a bad one is no reason to refuse */
    AUTH_REQUIRED  /* without a good one: 401 */
};

/* Days of the log whose partitions are made before they are needed. */
enum { PARTITION_DAYS_AHEAD = 7 };

enum {
    PROFILE_EXPRESSION_BYTES = 256,
    PROFILE_RATE_BYTES = 64,
    PROFILE_RATES_BYTES = 1024,
    PROFILE_SCHEMAS_BYTES = 1024
};

struct profile_settings {
    char route_selection_expression[PROFILE_EXPRESSION_BYTES];
    int64_t connection_ttl_s;
    bool renew_ttl; /* activity moves expires_at */
    int64_t message_retention_days;
    enum auth_mode auth;
    int64_t ping_interval_ms; /* 0: none */
    /* "10/s:20" is rate and burst, "" none; rate_limit_routes is "chat=2/s:5,ping=1/s:1" */
    char rate_limit_connection[PROFILE_RATE_BYTES];
    char rate_limit_user[PROFILE_RATE_BYTES];
    char rate_limit_routes[PROFILE_RATES_BYTES];
    char rate_limit_stage[PROFILE_RATE_BYTES];
    /* Array literal: the schemas whose routes may share a transaction with others; "" none. */
    char shared_schemas[PROFILE_SCHEMAS_BYTES];
};

/* What holds when no schema has "$settings"(): $request.body.action, two hours, thirty days, no
 * authentication, no pings, no limits. */
void profile_settings_init(struct profile_settings *settings);

/* The object's members over the ones of profile_settings_init; members that are not known are left
 * alone, so that a newer schema works.  INVALID names the member; *out is untouched then. */
enum status profile_settings_parse(const char *text, size_t len, struct profile_settings *out,
                                   struct error *err) MUST_USE;

/* Puts the settings that the operator gave over the profile's.  INVALID: one is too long. */
enum status profile_settings_override(struct profile_settings *settings,
                                      const struct config *config, struct error *err) MUST_USE;

/* Both: what the database says (profile_settings()), with the operator's over it.  An error leaves
 * *settings as it was. */
enum status profile_settings_read(struct profile_settings *settings, const char *text,
                                  const struct config *config, struct error *err) MUST_USE;

/* "off", "optional", "required"; false and *out untouched for anything else. */
bool auth_mode_parse(const char *text, enum auth_mode *out) MUST_USE;

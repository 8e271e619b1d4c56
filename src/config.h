/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - every setting, from one table.
 *
 * A row of the table (config.c) drives the environment variable (SWITCHBOARD_<NAME>), the flag
 * (--name-with-dashes VALUE or --name=VALUE), `--help`, validation, `switchboard config` and the
 * table in the README (`switchboard config --markdown`).  Order: default, environment (aliases
 * first, then SWITCHBOARD_*), flags.  The flag of a setting that is on or off may stand alone: on.
 * With aws_strict the defaults are API Gateway's values, where it has any.  Loaded once, const
 * afterwards.
 */
#pragma once

#include "base.h"

struct buf;

struct config {
    char *aws_strict; /* on off; default off */

    /* where */
    char *listen_address;  /* WebSockets; default 127.0.0.1 */
    int64_t port;          /* default 8080; 0 = any free one */
    char *stage;           /* default dev */
    char *admin_address;   /* default 127.0.0.1 */
    int64_t admin_port;    /* default 8081; 0 = any free one */
    char *public_endpoint; /* management endpoint written to the rows; "" = the admin port's;
                              alias AWS_WEBSOCKET_API_GATEWAY_ENDPOINT, WEBSOCKET_API_ENDPOINT */
    char *management_access_key_id;     /* "": requests to @connections need no signature, */
    char *management_secret_access_key; /* but then only this machine may make them; secret */
    char *management_allow;             /* methods; default POST,GET,DELETE */
    char *development;    /* on off: unsigned requests of this machine to the WebSocket port; off */
    char *domain_name;    /* requestContext.domainName; "" = the Host of the handshake */
    char *api_id;         /* requestContext.apiId; default "local" */
    char *aws_region;     /* in ARNs of events */
    char *aws_account_id; /* the same */
    char *node_name;      /* default "" = <hostname>:<port> */
    char *ports_file; /* "" or a file that gets {"port":..,"adminPort":..,"pid":..} once serving */

    /* events of somebody else's gateway, over HTTP */
    char *backend_address; /* default 127.0.0.1 */
    int64_t backend_port;  /* default 8082; 0 = any free one */
    char *backend_secret;  /* secret; "" = whoever reaches the port may call */

    /* @connections of somebody else's gateway */
    char *aws_access_key_id;     /* "": requests are not signed */
    char *aws_secret_access_key; /* secret */
    char *aws_session_token;     /* secret; "" = none */
    int64_t sender_parallel;     /* connections that are sent to at a time, default 64 */
    int64_t sender_timeout_ms;   /* for one try, default 3000 */
    char *secrets_endpoint;      /* of Secrets Manager; "" = the region's */

    /* database */
    char *database_url;         /* secret; alias DATABASE_URL; "" = libpq's PG* variables */
    char *database_auth;        /* password iam secret; default password */
    char *database_secret_arn;  /* of database_auth=secret */
    int64_t database_pool_size; /* connections for events, default 4 */
    int64_t database_connect_timeout_ms; /* default 5000 */
    int64_t database_wait_ms; /* how long a handshake waits for a database that is away; 5000 */
    int64_t integration_timeout_ms; /* default 29000; 50..29000 */
    int64_t batch_rows;         /* connections per register/deregister/touch call, default 256 */
    int64_t message_batch_rows; /* messages that share a transaction at most, default 64 */

    /* routes */
    char *profile; /* default careconnect */
    char *routes;  /* schemas in front of the profile, comma separated; default "" */
    char *route_selection_expression; /* default "" = the profile's own */
    char *api; /* file with an API description; default "" = every route is SQL */

    /* connections */
    int64_t connection_ttl_minutes; /* default 0 = the profile's, else 120 */
    int64_t max_connections;        /* default 100000 */
    int64_t max_pending_handshakes; /* default 20000 */
    int64_t handshake_timeout_ms;   /* to receive the request head, default 10000 */
    int64_t max_head_bytes;         /* default 16384; AWS 10240 */
    int64_t max_url_bytes;          /* path and query, default 8192; AWS 4096 */
    int64_t max_message_bytes;      /* default 1048576; AWS 131072 */
    int64_t max_frame_bytes;        /* default 1048576; AWS 32768 */
    int64_t output_frame_bytes;     /* longer messages out are cut; default 0 = never; AWS 512 */
    char *compression;              /* on off; default off; never with aws_strict */
    int64_t max_queue_bytes;        /* unsent output per connection, default 4194304 */
    int64_t max_pending_messages;   /* events of one connection in flight, default 64 */
    int64_t idle_timeout_ms;        /* default 600000 */
    char *ping_resets_idle;         /* on off; default on */
    int64_t max_connection_ms;      /* default 7200000 */
    int64_t ping_interval_ms;       /* of pings to quiet clients; default 0 = the profile's */
    int64_t close_timeout_ms;       /* for the peer to answer our close frame, default 5000 */
    int64_t touch_interval_ms;      /* default 1000 */

    /* the log and housekeeping */
    int64_t poll_interval_ms;   /* the follower's safety net, default 1000 */
    int64_t lease_ms;           /* a node's lease, default 30000; heartbeat every third of it */
    int64_t cleanup_interval_s; /* default 900; 0 = never */
    int64_t cleanup_batch;      /* rows per transaction, default 250 */
    int64_t inactive_retention_days; /* default 7 */
    int64_t message_retention_days;  /* default 0 = the profile's, else 30 */

    /* limits: "10/s:20" is rate and burst, "" = the profile's, "off" = none */
    char *rate_limit_connection;  /* messages of a connection */
    char *rate_limit_user;        /* messages of a user's connections together */
    char *rate_limit_routes;      /* of a route: "chat=100/s:200,typing=50/s" */
    char *rate_limit_stage;       /* handshakes and messages of all together */
    char *rate_limit_account;     /* the same, in front of it; "" = none; AWS 10000/s:5000 */
    char *rate_limit_connects;    /* handshakes alone; "" = none; AWS 500/s:500 */
    int64_t throttle_close_after; /* throttled messages in a row; default 0 = never closes */
    int64_t max_deliveries;       /* rows that a route may return, default 10000 */

    /* tokens */
    char *jwt_secret;          /* secret; HS256/384/512 */
    char *jwt_secret_arn;      /* jwt_secret is in Secrets Manager */
    char *jwt_public_key_file; /* PEM; RS256, ES256 */
    char *jwt_issuer;
    char *jwt_audience;
    int64_t jwt_leeway_s; /* default 30 */
    char *jwt_jwks_file;  /* JWKS; RS256, ES256; read again when it changes */
    char *jwt_jwks_url;
    int64_t jwt_jwks_cache_s;  /* default 300 */
    char *auth;                /* "" = the profile's; off optional required */
    char *token_expiry_closes; /* on off; default on */
    char *demo_tokens;         /* on off; default off */

    char *tls_ca_file; /* PEM, whom https trusts; default "" = the system's */

    /* people */
    char *log_level;             /* debug info warn error; default info */
    char *log_format;            /* logfmt json; default logfmt */
    char *access_log_file;       /* "" = none, "-" = standard output */
    char *access_log_format;     /* with $context.<name>; default JSON */
    int64_t shutdown_timeout_ms; /* default 10000 */
};

/* Defaults, then the environment, then the flags in argv[0..argc).  What is not a flag is moved to
 * the front of argv in order and *argc says how many there are.  INVALID names the setting, where
 * it came from and what is allowed; a secret's value is never in the text. */
enum status config_load(struct config *config, int *argc, char **argv, struct error *err) MUST_USE;
void config_done(struct config *config);

bool config_is_on(const char *value); /* of a setting that is on or off */

enum config_output { CONFIG_TEXT, CONFIG_JSON, CONFIG_MARKDOWN, CONFIG_HELP };
/* Settings with values (secrets as ****), or the README's table, or the flags for --help. */
void config_print(const struct config *config, enum config_output output, struct buf *out);

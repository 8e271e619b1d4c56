/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - every setting, from one table.
 *
 * A row of the table (config.c) drives the environment variable (SWITCHBOARD_<NAME>), the flag
 * (--name-with-dashes VALUE or --name=VALUE), `--help`, validation, `switchboard config` and the
 * table in the README (`switchboard config --markdown`).  Order: default, environment (aliases
 * first, then SWITCHBOARD_*), flags.  Loaded once, const afterwards.
 */
#pragma once

#include "base.h"

struct buf;

struct config {
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
    char *development; /* on off: unsigned requests of this machine to the WebSocket port; off */

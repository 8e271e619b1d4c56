/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands_internal.h - what the files of the commands share.
 */
#pragma once

#include "buf.h"
#include "commands.h"
#include "pg.h"

struct config;

enum {
    COMMAND_OUTPUT_BYTES = 64 * 1024 * 1024, /* connections prints page by page */
    COMMAND_MAX_ARGUMENTS = 2
};

/* A command line, taken apart. */
struct invocation {
    const struct config *config;
    const char *arguments[COMMAND_MAX_ARGUMENTS]; /* what follows the command, NULL behind */
    bool is_json;
    bool is_markdown;
    bool is_all;
    /* send: the text is part of a typed message (messages.h) */
    bool is_system;
    bool is_typing;
    bool is_retryable;
    bool is_partial;
    /* options with a value, NULL when not given */
    const char *user;
    const char *topic;
    const char *claims;
    const char *ttl;
    const char *alg;
    const char *level;
    const char *error_code;
    const char *retry_after;
    const char *response_id;
};

int fail_command(const struct error *err); /* prints it; the exit code */
int fail_usage(const char *text);
void print(struct buf *out); /* to standard output; ends the buffer */

enum status open_database(const struct config *config, struct pg **out, struct error *err) MUST_USE;

/* "http://127.0.0.1:8081" and the path */
void write_admin_url(const struct config *config, const char *path, struct buf *url);

/* commands_send.c */
int run_send(const struct invocation *invocation);
int run_publish(const struct invocation *invocation);
int run_broadcast(const struct invocation *invocation);
int run_routes(const struct invocation *invocation);
/* commands_api.c */
int run_api(const struct invocation *invocation);
/* commands_token.c */
int run_token(const struct invocation *invocation);

/* Without arguments, where AWS_LAMBDA_RUNTIME_API is set; returns the exit code. */
int commands_in_lambda(void);

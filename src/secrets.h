/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets.h - values that AWS Secrets Manager keeps.
 *
 * Blocking: for commands, for what is needed before anything starts, and for the thread pool.
 * What is read is wiped by secret_free and secret_done before its memory goes to others.
 */
#pragma once

#include <stdatomic.h>

#include "buf.h"

struct config;

enum {
    SECRET_VALUE_BYTES = 65536, /* Secrets Manager's own limit */
    SECRET_ANSWER_BYTES = 8 * SECRET_VALUE_BYTES
};

/* GetSecretValue, after http_client_setup, with the credentials of the settings.  id: an ARN, whose
 * region is asked, or a name in aws_region.  is_cancelled: as of http_client.h; NULL: it never is.
 * UNAVAILABLE when there is no answer or none for now; else INVALID or DENIED, with the likely
 * cause. */
enum status secret_fetch(const struct config *config, const char *id,
                         const atomic_bool *is_cancelled, struct buf *value,
                         struct error *err) MUST_USE;

/* The answer's SecretString (binary ones are not for us), or the error that it is. */
enum status secret_read_answer(const char *answer, size_t len, long http_status, struct buf *value,
                               struct error *err) MUST_USE;

/* {"username":..,"password":..}, as RDS has it, or the password alone.  Both are for secret_free;
 * *user may be NULL.  INVALID when there is no password. */
enum status secret_read_login(const char *value, size_t len, char **user, char **password,
                              struct error *err) MUST_USE;

/* {"<member>":..}, or the text itself; for secret_free. */
enum status secret_read_member(const char *value, size_t len, const char *member, char **out,
                               struct error *err) MUST_USE;

void secret_free(char *text); /* wipes; NULL is allowed */
void secret_done(struct buf *buf);

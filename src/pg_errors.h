/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg_errors.h - what libpq and the server say of an error: one line, an SQLSTATE, what that means.
 */
#pragma once

#include "base.h"

/* libpq's messages have several lines; those that begin with a tab are advice and are left out, the
 * others become one. */
enum status pg_fail(struct error *err, enum status status, const char *text);

/* For connecting with PQERRORS_VERBOSE, because a refusal's SQLSTATE has no other way out of libpq:
 * it goes to err->sqlstate (the last one, when several hosts or ways were tried) and out of the
 * text, and so does the place in the server's source. */
enum status pg_fail_refused(struct error *err, enum status status, const char *text);

/* What the caller can do about it: see pg_call in pg.h. */
enum status pg_status_of_sqlstate(const char *sqlstate);

/* The line of a script that an error is in.  The position that the server reports counts
 * characters, from 1. */
size_t pg_line_of_position(const char *sql, const char *position);

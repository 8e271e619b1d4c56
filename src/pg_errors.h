/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pg_errors.h - what libpq says when a connection fails, as one line and an SQLSTATE.
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_scan.h - the check that stands in front of cJSON; for json.c.
 *
 * Strict: RFC 8259, and what PostgreSQL's jsonb takes.  cJSON alone would let control characters,
 * "01", a byte order mark and a NUL by escape through, and a message that this program calls JSON
 * must be JSON to SQL too.
 */
#pragma once

#include "base.h"

/* True when the text is exactly one JSON value with nothing but blanks around it; *offset is where
 * it stopped being one.  Does not look at the encoding: utf8_is_valid does. */
bool json_scan(const char *text, size_t len, size_t *offset) MUST_USE;

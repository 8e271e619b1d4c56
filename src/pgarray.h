/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pgarray.h - PostgreSQL array literals as query parameters: {"a","b",NULL}.
 *
 *   pgarray_begin(&buf); pgarray_add(&buf, "a"); pgarray_add_int(&buf, 7); pgarray_end(&buf);
 *
 * Every text is quoted, so it is never mistaken for NULL or a nested array
 * (PostgreSQL manual, "Array Input and Output Syntax").
 */
#pragma once

#include "buf.h"

void pgarray_begin(struct buf *out);
void pgarray_add(struct buf *out, const char *text); /* NULL: SQL null */
void pgarray_add_int(struct buf *out, int64_t value);
void pgarray_end(struct buf *out);
/* Several side by side, as the parameters of one call: begun without a limit, because what goes
 * into them is bounded already; ended as texts that are good until they are freed. */
void pgarrays_begin(struct buf arrays[], size_t count);
void pgarrays_end(struct buf arrays[], size_t count, const char *texts[]);
void pgarrays_done(struct buf arrays[], size_t count);
/* The items of a comma-separated list, blanks around them dropped, empty ones left out. */
void pgarray_add_list(struct buf *out, const char *list);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inflater.h - messages that a client has compressed (permessage-deflate, RFC 7692, section 7.2.2).
 *
 * One for each connection: what was inflated before may be referred to.  Takes any window.
 */
#pragma once

#include "base.h"

struct buf;
struct inflater;

struct inflater *inflater_create(void) MUST_USE;
void inflater_free(struct inflater *inflater); /* NULL is allowed */

/* Appends what a part of a message becomes.  LIMIT when that is more than out may hold, INVALID
 * when it is not compressed properly: the inflater can only be freed after either. */
enum status inflater_add(struct inflater *inflater, const char *data, size_t len, bool is_last,
                         struct buf *out) MUST_USE;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growing byte buffer that is born with a limit.
 *
 * The `full` flag is sticky: past the limit nothing more is added (the add that would cross it
 * adds nothing), so a message is straight lines and one check at the end.  Storage belongs to the
 * owner of the struct: buf_init ... buf_done.
 */
#pragma once

#include "base.h"

struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t limit;
    bool full;
};

void buf_init(struct buf *buf, size_t limit);
void buf_done(struct buf *buf);  /* frees; the struct may be used again after buf_init */
void buf_clear(struct buf *buf); /* len = 0, full = false; keeps the storage */

void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_adds(struct buf *buf, const char *text);
void buf_addc(struct buf *buf, char c);
/* The bytes as UTF-8: each one that belongs to no character becomes U+FFFD, three bytes. */
void buf_add_utf8(struct buf *buf, const char *bytes, size_t len);
void buf_addf(struct buf *buf, const char *fmt, ...) PRINTF(2, 3);

/* Makes room for len more bytes and returns where they go (buf_commit says how many were
 * written); NULL, and full, when the limit forbids it. */
char *buf_reserve(struct buf *buf, size_t len) MUST_USE;
void buf_commit(struct buf *buf, size_t len);

/* Forgets the first len bytes. */
void buf_drop_front(struct buf *buf, size_t len);

/* The bytes with a NUL behind them, borrowed until the next change.  Never NULL. */
const char *buf_str(struct buf *buf);

/* The bytes with a NUL behind them, yours to free(); the buffer is empty afterwards. */
char *buf_take(struct buf *buf) MUST_USE;

bool buf_full(const struct buf *buf);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - statuses, errors, memory and clocks: what every other file may use.
 *
 * Functions that can fail in several ways return an enum status and fill a
 * struct error; lower layers never log, whoever stops the error logs it once.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
enum { CACHE_LINE_BYTES = 64 }; /* of the processors that this runs on */

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* The struct that contains a member, from a pointer to the member. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* What the caller can do about it.  UNAVAILABLE is the only one worth retrying. */
enum status {
    OK,
    INVALID,     /* what was given is wrong */
    DENIED,      /* understood and refused */
    NOT_FOUND,   /* no such thing */
    GONE,        /* it was there once */
    LIMIT,       /* past a limit that is a setting */
    UNAVAILABLE, /* not now */
    INTERNAL     /* our fault, or a library's */
};

enum { ERROR_TEXT_BYTES = 512 };

struct error {
    enum status status;
    char sqlstate[6]; /* "" unless PostgreSQL reported it */
    char text[ERROR_TEXT_BYTES];
};

/* The word for a status ("unavailable"), for logs and JSON. */
const char *status_name(enum status status);

/* Fills *err (which may be NULL) and returns the status, so that callers write `return fail(...)`.
 */
enum status fail(struct error *err, enum status status, const char *fmt, ...) PRINTF(3, 4);

/* Puts "<context>: " in front of the text that is already there and returns err->status.
 * Truncates at the end, never in front. */
enum status fail_context(struct error *err, const char *fmt, ...) PRINTF(2, 3);

/* Our sizes may kill us: these never return NULL, they abort with a message.  Sizes that a peer
 * chooses go through struct buf, which has a limit. */
void *mem_alloc(size_t size) MUST_USE;     /* zeroed */
void *mem_alloc_raw(size_t size) MUST_USE; /* with whatever was there */
void *mem_realloc(void *ptr, size_t size) MUST_USE;
char *mem_strdup(const char *text) MUST_USE; /* NULL in, NULL out */
char *mem_strndup(const char *text, size_t len) MUST_USE;

/* How many bytes the UTF-8 character at text has (1 to 4); 0 when what is there is none: a
 * surrogate, an overlong form, a cut sequence, a value past U+10FFFF, or len 0. */
size_t utf8_char_len(const char *text, size_t len) MUST_USE;

/* Wall clock, Unix milliseconds; and a monotonic clock, milliseconds and microseconds. */
int64_t clock_unix_ms(void);
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);

/* Random bytes from the kernel; aborts if there are none. */
void random_bytes(void *out, size_t len);

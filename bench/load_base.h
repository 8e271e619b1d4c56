/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_base.h - what every file of the load generator needs: failing, memory, bytes, the clock.
 *
 * The generator is one process with one thread that either finishes its run or says why not: so the
 * first thing that is wrong ends it, from wherever it is noticed.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_RUN_FAILED = 1, EXIT_USAGE = 2 };

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* Says what is wrong with the run on stderr and exits with 1; load_usage with 2. */
_Noreturn void load_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void load_vfail(const char *prefix, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
_Noreturn void load_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory, never NULL. */
void *load_alloc(size_t count, size_t size);

uint64_t load_now_ns(void);

/* A growing array of bytes; all zero is an empty one. */
struct bytes {
    char *data;
    size_t len;
    size_t cap;
};

/* Where `len` more bytes can be written; they count once the caller has added them to bytes->len.
 */
char *bytes_room(struct bytes *bytes, size_t len);
void bytes_add(struct bytes *bytes, const void *data, size_t len);
void bytes_adds(struct bytes *bytes, const char *text);
void bytes_drop_front(struct bytes *bytes, size_t len);
void bytes_free(struct bytes *bytes);

/* SPDX-License-Identifier: Apache-2.0 */
#include "load_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BYTES_FIRST = 512 };

void load_vfail(const char *prefix, const char *fmt, va_list args)
{
    fflush(stdout);
    fprintf(stderr, "load: %s", prefix);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    exit(EXIT_RUN_FAILED);
}

void load_fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    load_vfail("", fmt, args);
    /* cppcheck-suppress va_end_missing; it does not return */
}

void load_usage(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("load: ", stderr);
    vfprintf(stderr, fmt, args);
    fputs(" (\"load --help\" lists modes and options)\n", stderr);
    va_end(args);
    exit(EXIT_USAGE);
}

void *load_alloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);

    if (!memory)
        load_fail("out of memory");
    return memory;
}

uint64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

char *bytes_room(struct bytes *bytes, size_t len)
{
    size_t cap = bytes->cap ? bytes->cap : BYTES_FIRST;

    if (bytes->len + len <= bytes->cap)
        return bytes->data + bytes->len;
    while (cap < bytes->len + len)
        cap *= 2;
    bytes->data = realloc(bytes->data, cap);
    if (!bytes->data)
        load_fail("out of memory");
    bytes->cap = cap;
    return bytes->data + bytes->len;
}

void bytes_add(struct bytes *bytes, const void *data, size_t len)
{
    if (!len)
        return;
    memcpy(bytes_room(bytes, len), data, len);
    bytes->len += len;
}

void bytes_adds(struct bytes *bytes, const char *text)
{
    bytes_add(bytes, text, strlen(text));
}

void bytes_drop_front(struct bytes *bytes, size_t len)
{
    if (!len)
        return;
    memmove(bytes->data, bytes->data + len, bytes->len - len);
    bytes->len -= len;
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

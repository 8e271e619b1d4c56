/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.c - statuses, errors, memory and clocks.
 */
#include "base.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { RANDOM_POOL_BYTES = 1024 };

const char *status_name(enum status status)
{
    switch (status) {
    case OK:
        return "ok";
    case INVALID:
        return "invalid";
    case DENIED:
        return "denied";
    case NOT_FOUND:
        return "not_found";
    case GONE:
        return "gone";
    case LIMIT:
        return "limit";
    case UNAVAILABLE:
        return "unavailable";
    case INTERNAL:
        return "internal";
    }
    return "unknown";
}

enum status fail(struct error *err, enum status status, const char *fmt, ...)
{
    /* By way of a copy, so that err->text may be one of the arguments. */
    char text[ERROR_TEXT_BYTES];
    va_list args;

    if (!err)
        return status;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err->status = status;
    err->sqlstate[0] = '\0';
    memcpy(err->text, text, sizeof(text));
    return status;
}

enum status fail_context(struct error *err, const char *fmt, ...)
{
    char text[ERROR_TEXT_BYTES];
    va_list args;
    size_t len;
    size_t old_len;
    int n;

    assert(err);
    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    len = n < 0 ? 0 : (size_t)n;
    if (len > sizeof(text) - 1)
        len = sizeof(text) - 1;
    for (const char *p = ": "; *p && len < sizeof(text) - 1; p++)
        text[len++] = *p;
    old_len = strnlen(err->text, sizeof(err->text));
    if (old_len > sizeof(text) - 1 - len)
        old_len = sizeof(text) - 1 - len;
    memcpy(text + len, err->text, old_len);
    text[len + old_len] = '\0';
    memcpy(err->text, text, len + old_len + 1);
    return err->status;
}

static void *must_have(void *ptr, size_t size)
{
    if (!ptr) {
        fprintf(stderr, "switchboard: out of memory (%zu bytes)\n", size);
        abort();
    }
    return ptr;
}

void *mem_alloc(size_t size)
{
    return must_have(calloc(1, size ? size : 1), size);
}

void *mem_alloc_raw(size_t size)
{
    return must_have(malloc(size ? size : 1), size);
}

void *mem_realloc(void *ptr, size_t size)
{
    return must_have(realloc(ptr, size ? size : 1), size);
}

char *mem_strdup(const char *text)
{
    return text ? mem_strndup(text, strlen(text)) : NULL;
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = must_have(malloc(len + 1), len + 1);

    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

size_t utf8_char_len(const char *text, size_t len)
{
    const unsigned char *c = (const unsigned char *)text;
    unsigned char low = 0x80; /* the second byte's range is narrower behind some first bytes */
    unsigned char high = 0xBF;
    size_t count;

    if (len == 0)
        return 0;
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xC2 || c[0] > 0xF4)
        return 0;
    count = c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    if (c[0] == 0xE0)
        low = 0xA0;
    else if (c[0] == 0xF0)
        low = 0x90;
    else if (c[0] == 0xED)
        high = 0x9F;
    else if (c[0] == 0xF4)
        high = 0x8F;
    if (len < count || c[1] < low || c[1] > high)
        return 0;
    for (size_t i = 2; i < count; i++) {
        if ((c[i] & 0xC0) != 0x80)
            return 0;
    }
    return count;
}

static int64_t clock_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_unix_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

static void ask_kernel(void *out, size_t len)
{
    char *at = out;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fprintf(stderr, "switchboard: no random bytes: %s\n", strerror(errno));
            abort();
        }
        at += n;
        len -= (size_t)n;
    }
}

/* A system call for every few bytes would cost more than what they are for.  What was given away is
 * forgotten. */
void random_bytes(void *out, size_t len)
{
    static _Thread_local unsigned char pool[RANDOM_POOL_BYTES];
    static _Thread_local size_t left;

    if (len > sizeof(pool) / 4) {
        ask_kernel(out, len);
        return;
    }
    if (left < len) {
        ask_kernel(pool, sizeof(pool));
        left = sizeof(pool);
    }
    left -= len;
    memcpy(out, pool + left, len);
    explicit_bzero(pool + left, len);
}

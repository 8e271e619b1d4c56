/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64url.h - base64url without padding, as tokens and keys have it (RFC 7515, section 2), and
 * base64 with padding, as bodies have it (RFC 4648, section 4).
 */
#pragma once

#include "buf.h"

void base64url_add(struct buf *out, const void *bytes, size_t len);

/* The decoded bytes, yours to free; NULL when the text has another character in it, padding, a
 * length that no encoder makes, or bits behind the last byte: each value has one spelling. */
unsigned char *base64url_decode(const char *text, size_t len, size_t *out_len) MUST_USE;

void base64_add(struct buf *out, const void *bytes, size_t len);

/* The same with the alphabet of base64; padding is right or left out. */
unsigned char *base64_decode(const char *text, size_t len, size_t *out_len) MUST_USE;

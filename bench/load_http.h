/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_http.h - as much of HTTP/1.1 as a publisher needs that keeps its connection.
 */
#pragma once

#include "load_base.h"

struct peer;

/* Returns the bytes of the first answer, 0 when it is not complete.  An answer that is no 2xx, or
 * whose end cannot be told, or that ends the connection, fails the run. */
size_t http_take_answer(const struct peer *peer, const char *data, size_t len);

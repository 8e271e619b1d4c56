/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of libpq have texts of the server in them.  Whatever they say: one line, and an SQLSTATE
 * of five characters or none.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pg_errors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    struct error err = {0};

    assert(pg_fail(&err, INTERNAL, text) == INTERNAL);
    assert(!strchr(err.text, '\n') && err.sqlstate[0] == '\0');
    assert(pg_fail_refused(&err, UNAVAILABLE, text) == UNAVAILABLE);
    assert(!strchr(err.text, '\n'));
    assert(strlen(err.sqlstate) == 0 || strlen(err.sqlstate) == 5);
    free(text);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_request_line.c - what the WebSocket port takes for a management request.
 *
 * The decision never changes when more bytes come, and agrees with the one about the path alone:
 * the listener hands a socket over by the first, the other side keeps it by the second.
 */
#include "buf.h"
#include "http_head.h"
#include "request_line.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_prefixes(const char *text, size_t size)
{
    enum request_line before = REQUEST_LINE_UNDECIDED;

    for (size_t len = 0; len <= size && len <= 512; len++) {
        char *exact = mem_strndup("", 0);
        enum request_line now;

        exact = mem_realloc(exact, len ? len : 1);
        memcpy(exact, text, len);
        now = request_line_look(exact, len);
        require(before == REQUEST_LINE_UNDECIDED || now == before);
        before = now;
        free(exact);
    }
}

static void check_agreement(const char *text, size_t size)
{
    enum request_line line = request_line_look(text, size);
    struct http_head head;
    char *path;

    if (http_head_parse(text, size, &head, NULL) != OK || head.path.data[0] != '/')
        return;
    path = slice_dup(head.path);
    if (line == REQUEST_LINE_MANAGEMENT)
        require(request_path_look(path) != REQUEST_PATH_OTHER);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    char *path = mem_strndup(text, size);

    (void)request_path_look(path);
    free(path);
    check_prefixes(text, size);
    check_agreement(text, size);
    return 0;
}

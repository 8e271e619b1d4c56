/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_extensions.c - Sec-WebSocket-Extensions.
 */
#include "extensions.h"
#include "http_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_offered(struct slice value)
{
    struct http_head head = {.header_count = 1};

    head.headers[0] = (struct http_header){{"Sec-WebSocket-Extensions", 24}, value};
    return extensions_offer_deflate(&head);
}

/* An offer behind it can only help; and nothing is offered without the word. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char more[] = ",permessage-deflate";
    char *text = mem_alloc(size + sizeof(more));
    bool has_it;

    memcpy(text, data, size);
    has_it = is_offered((struct slice){text, size});
    if (has_it && size < strlen("permessage-deflate"))
        abort();
    memcpy(text + size, more, sizeof(more));
    if (!is_offered((struct slice){text, size + sizeof(more) - 1}))
        abort();
    free(text);
    return 0;
}

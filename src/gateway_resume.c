/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway_resume.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "replay.h"

static bool is_resume(struct slice name)
{
    char *text = mem_alloc(name.len + 1);
    bool is_it = url_decode(name, true, text) >= 0 && strcmp(text, "resume") == 0;

    free(text);
    return is_it;
}

/* The last one, as in the event; NULL when there is none. */
static char *find_value(const struct http_head *head)
{
    struct slice rest = head->query;
    struct slice name, value, found = {NULL, 0};
    char *text;

    while (rest.data && query_next(&rest, &name, &value))
        if (is_resume(name))
            found = value;
    if (!found.data)
        return NULL;
    text = mem_alloc(found.len + 1);
    if (url_decode(found, true, text) >= 0)
        return text;
    free(text);
    return NULL;
}

void gateway_expect_resume(struct replays *replays, struct connection *connection,
                           const struct http_head *head)
{
    char *text = find_value(head);
    struct json *topics = NULL;

    if (text && json_parse(text, strlen(text), &topics, NULL) == OK)
        (void)replay_expect(replays, connection, topics);
    json_free(topics);
    free(text);
}

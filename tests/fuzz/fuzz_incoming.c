/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_incoming.c - any bytes as an event: it is of some kind or no object at all, and a CONNECT is
 * written again as JSON that is the same CONNECT.
 */
#include "incoming.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What the rest of the program takes for granted. */
static void check_members(const struct incoming *event)
{
    bool is_route = event->kind == INCOMING_CONNECT || event->kind == INCOMING_MESSAGE ||
                    event->kind == INCOMING_DISCONNECT;

    require(!is_route || (event->request_context && event->connection_id && *event->connection_id));
    require(event->kind != INCOMING_AUTHORIZER || event->method_arn);
    require(event->kind != INCOMING_COMMAND || event->op);
    require(!event->request_context || event->reason);
    require(!event->body || event->kind == INCOMING_MESSAGE);
    require(!event->body || utf8_is_valid(event->body, strlen(event->body)));
    require(!event->has_authorizer || event->request_context);
    require(incoming_kind_name(event->kind)[0] != '\0');
    (void)incoming_header(event, "Authorization");
    (void)incoming_query(event, "token");
}

static void check_connect(const struct incoming *event, const char *authorizer)
{
    struct incoming again;
    struct buf out;
    const struct json *known;

    buf_init(&out, SIZE_MAX);
    incoming_write_connect(event, authorizer, &out);
    require(incoming_parse(buf_str(&out), out.len, &again, NULL) == OK);
    require(again.kind == INCOMING_CONNECT);
    require(is_same(again.connection_id, event->connection_id));
    require(is_same(again.request_id, event->request_id));
    require(is_same(again.route_key, event->route_key));
    require(is_same(again.stage, event->stage));
    require(is_same(again.source_ip, event->source_ip));
    require(again.connected_at_ms == event->connected_at_ms);
    require(is_same(incoming_header(&again, "Host"), incoming_header(event, "Host")));
    require(is_same(incoming_query(&again, "token"), incoming_query(event, "token")));
    require(again.has_authorizer == (authorizer ? true : event->has_authorizer));
    known = json_get(again.request_context, "authorizer");
    require(!known || !json_get(known, "integrationLatency"));
    incoming_done(&again);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct incoming event;

    if (incoming_parse((const char *)data, size, &event, NULL) != OK)
        return 0;
    check_members(&event);
    if (event.kind == INCOMING_CONNECT) {
        check_connect(&event, NULL);
        check_connect(&event, "{\"principalId\":\"u\"}");
    }
    incoming_done(&event);
    return 0;
}

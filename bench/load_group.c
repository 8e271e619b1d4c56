/* SPDX-License-Identifier: Apache-2.0 */
#include "load_group.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum stage { STAGE_SHAKING, STAGE_GREETING, STAGE_SETUP, STAGE_READY };

static bool has_prefix(const char *text, size_t len, const char *prefix)
{
    size_t prefix_len = strlen(prefix);

    return len >= prefix_len && memcmp(text, prefix, prefix_len) == 0;
}

static struct text_values values_of(const struct group *group, size_t number)
{
    const struct group_plan *plan = &group->plan;
    struct text_values values = {{0}};

    values.of[TEXT_C] = number;
    if (plan->topics)
        values.of[TEXT_T] = number % plan->topics;
    else if (plan->topic_size)
        values.of[TEXT_T] = number / plan->topic_size;
    return values;
}

static void become_ready(struct group *group, struct peer *peer)
{
    peer->stage = STAGE_READY;
    peer->waiting_since_ns = 0;
    group->ready++;
    if (group->plan.on_ready)
        group->plan.on_ready(group->plan.ctx, peer);
}

static void begin_setup(struct group *group, struct peer *peer)
{
    struct text_values values = values_of(group, peer->number);

    if (group->has_setup) {
        char *text = bytes_room(&group->scratch, group->setup.longest);
        peer_send_text(peer, text, text_write(&group->setup, &values, text));
    }
    if (!group->has_setup || !group->setup_reply.longest) {
        become_ready(group, peer);
        return;
    }
    peer->stage = STAGE_SETUP;
    peer->waiting_since_ns = peers_now_ns(peer->peers);
}

static void on_open(struct peer *peer)
{
    struct group *group = peer->owner;

    if (!group->greeting.longest) {
        begin_setup(group, peer);
        return;
    }
    peer->stage = STAGE_GREETING;
    peer->waiting_since_ns = peers_now_ns(peer->peers);
}

static void check_prefix(struct group *group, const struct peer *peer, const struct text *prefix,
                         const char *text, size_t len)
{
    struct text_values values = values_of(group, peer->number);
    char *expected = bytes_room(&group->scratch, prefix->longest);
    size_t expected_len = text_write(prefix, &values, expected);

    if (len < expected_len || memcmp(text, expected, expected_len) != 0)
        peer_fail_unexpected(peer, text, len, expected, expected_len);
}

static void on_text(struct peer *peer, const char *text, size_t len)
{
    struct group *group = peer->owner;

    if (*group->allow && has_prefix(text, len, group->allow))
        return;
    if (peer->stage == STAGE_READY) {
        group->plan.on_text(group->plan.ctx, peer, text, len);
        return;
    }
    if (peer->stage == STAGE_GREETING) {
        check_prefix(group, peer, &group->greeting, text, len);
        begin_setup(group, peer);
    } else {
        check_prefix(group, peer, &group->setup_reply, text, len);
        become_ready(group, peer);
    }
}

size_t group_read_ports(const char *host, const char *ports, struct sockaddr_in *server)
{
    size_t count = 0;
    const char *at = ports;

    while (*at) {
        char *end;
        unsigned long port = strtoul(at, &end, 10);
        if (end == at || port < 1 || port > 65535 || (*end && *end != ',') || count == GROUP_PORTS)
            load_usage("\"%s\" is no port and no list of ports", ports);
        server[count] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        if (inet_pton(AF_INET, host, &server[count].sin_addr) != 1)
            load_usage("--host must be a numeric IPv4 address");
        count++;
        at = *end ? end + 1 : end;
    }
    if (!count)
        load_usage("--port is missing");
    return count;
}

static void compile_request(struct group *group, const char *path)
{
    const struct options *options = group->load->options;
    struct bytes request = {0};

    bytes_adds(&request, "GET ");
    bytes_adds(&request, path);
    bytes_adds(&request, " HTTP/1.1\r\nHost: ");
    bytes_adds(&request, options->host);
    bytes_adds(&request, "\r\n");
    bytes_adds(&request, peer_handshake_headers);
    for (size_t i = 0; i < options->headers; i++) {
        bytes_adds(&request, options->header[i]);
        bytes_adds(&request, "\r\n");
    }
    bytes_add(&request, "\r\n", 3);
    text_compile(&group->request, request.data, options->pad);
    bytes_free(&request);
}

static const char *either(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

/* All connections of a server greet alike, what they are for. */
static void init_setup(struct group *group)
{
    const struct options *options = group->load->options;
    const struct group_plan *plan = &group->plan;
    const char *setup = either(plan->setup, plan->is_bare ? "" : options->setup);
    const char *reply = either(plan->setup_reply, plan->is_bare ? "" : options->setup_reply);

    group->has_setup = *setup;
    text_compile(&group->setup, setup, options->pad);
    text_compile(&group->setup_reply, reply, options->pad);
    text_compile(&group->greeting, options->greeting, options->pad);
    group->allow = options->allow;
}

void group_init(struct group *group, struct load *load, const struct group_plan *plan)
{
    const struct options *options = load->options;

    *group = (struct group){.load = load, .plan = *plan};
    group->servers =
        group_read_ports(options->host, either(plan->ports, options->ports), group->server);
    compile_request(group, either(plan->path, options->path));
    init_setup(group);
    group->events = (struct peer_events){.on_open = on_open, .on_text = on_text};
    group->peer = load_alloc(plan->count, sizeof *group->peer);
    peers_watch(load->peers, group->peer, plan->count);
}

void group_done(struct group *group)
{
    text_free(&group->request);
    text_free(&group->setup);
    text_free(&group->setup_reply);
    text_free(&group->greeting);
    bytes_free(&group->scratch);
    free(group->peer);
}

void group_open_peer(struct group *group, struct peer *peer, size_t number)
{
    struct text_values values = values_of(group, number);
    char *request = bytes_room(&group->scratch, group->request.longest);
    size_t len = text_write(&group->request, &values, request);

    peer->peers = group->load->peers;
    peer->events = &group->events;
    peer->owner = group;
    peer->name = group->plan.name;
    peer->number = number;
    peer->stage = STAGE_SHAKING;
    group->started++;
    peer_open(peer, &group->server[number % group->servers], request, len);
}

void group_open(struct group *group)
{
    const struct options *options = group->load->options;

    while (group->ready < group->plan.count) {
        while (group->started < group->plan.count &&
               group->started - group->ready < options->opening) {
            size_t i = group->started;
            group_open_peer(group, &group->peer[i], i + options->first_number);
        }
        peers_turn(group->load->peers, UINT64_MAX);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_storm.c - the mode "storm": how fast connections can be opened.
 *
 * Either a number of connections, or for some time as many as go, the oldest being closed to make
 * room.  A connection's time is from connect() to when it is ready: see load_group.h.
 */
#include "load.h"

#include <stdlib.h>

#include "load_group.h"
#include "load_stats.h"

struct storm {
    struct group group;
    struct stats *stats;
};

/* The turn's clock is too old here: much may have been read in this turn already. */
static void on_ready(void *ctx, struct peer *peer)
{
    struct storm *storm = ctx;

    stats_add(storm->stats, load_now_ns() - peer->opened_at_ns);
}

static void on_text(void *ctx, struct peer *peer, const char *text, size_t len)
{
    (void)ctx;
    peer_fail_unexpected(peer, text, len, NULL, 0);
}

/* Whether one more may be opened: all before the oldest are closed already, and the oldest cannot
 * be closed while its handshake is under way. */
static bool make_room(struct group *group, struct peer *peer)
{
    if (group->started - group->ready >= group->load->options->outstanding)
        return false;
    if (peer->state == PEER_CLOSED)
        return true;
    if (peer->waiting_since_ns)
        return false;
    peer_close(peer);
    return true;
}

static void open_more(struct storm *storm, size_t limit)
{
    struct group *group = &storm->group;

    while (group->started < limit) {
        struct peer *peer = &group->peer[group->started % group->plan.count];
        if (!make_room(group, peer))
            return;
        group_open_peer(group, peer, group->started + group->load->options->first_number);
    }
}

static void run(struct storm *storm, uint64_t begin_ns)
{
    const struct options *options = storm->group.load->options;
    struct peers *peers = storm->group.load->peers;
    uint64_t end_ns = begin_ns + load_ns(options->repeat_seconds);

    if (options->repeat_seconds > 0) {
        while (load_now_ns() < end_ns) {
            open_more(storm, SIZE_MAX);
            peers_turn(peers, end_ns);
        }
        return;
    }
    while (storm->group.ready < options->connections) {
        open_more(storm, options->connections);
        peers_turn(peers, UINT64_MAX);
    }
}

static void print(const struct storm *storm, double seconds)
{
    double ms = (double)NS_PER_MS;
    size_t ready = storm->group.ready;

    load_print_result("\"connections\":%zu,\"seconds\":%.6f,\"per_second\":%.1f,"
                      "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f",
                      ready, seconds, (double)ready / seconds,
                      stats_percentile(storm->stats, 50) / ms,
                      stats_percentile(storm->stats, 99) / ms, (double)storm->stats->max_ns / ms);
}

void load_storm(struct load *load)
{
    struct storm storm = {.stats = load_alloc(1, sizeof(struct stats))};
    struct group_plan plan = {.name = "connection",
                              .count = load->options->connections,
                              .on_text = on_text,
                              .on_ready = on_ready,
                              .ctx = &storm};
    uint64_t begin_ns;
    double seconds;

    group_init(&storm.group, load, &plan);
    begin_ns = load_now_ns();
    run(&storm, begin_ns);
    seconds = (double)(load_now_ns() - begin_ns) / (double)NS_PER_SECOND;
    load_settle(load);
    print(&storm, seconds);
    peers_free(load->peers);
    group_done(&storm.group);
    free(storm.stats);
}

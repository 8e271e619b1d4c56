/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_echo.c - the mode "echo": every connection keeps some messages under way, each is answered.
 *
 * The answers of a connection have to come in the order in which it has sent.  With --mixed, for a
 * server that mixes up who asked, one may come to another connection, which goes on in its place;
 * each message has to be answered still, and what is sent has to be the same for all.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "load_group.h"
#include "load_stats.h"

/* One connection's counters; its messages are numbered from 1. */
struct line {
    uint64_t sent;
    uint64_t answered;
};

struct echo {
    struct load *load;
    struct group idle;
    struct group active;
    struct line *line;
    uint64_t *sent_at_ns; /* in_flight of them for each connection */
    struct text send, expect;
    char *scratch;
    struct stats *stats;
    uint64_t under_way; /* of all connections */
    bool is_measuring;
    bool is_ending;
};

static size_t index_of(const struct echo *echo, const struct peer *peer)
{
    return (size_t)(peer - echo->active.peer);
}

static uint64_t *stamp(const struct echo *echo, size_t i, uint64_t n)
{
    size_t in_flight = echo->load->options->in_flight;

    return &echo->sent_at_ns[i * in_flight + n % in_flight];
}

static void send_next(struct echo *echo, struct peer *peer)
{
    size_t i = index_of(echo, peer);
    uint64_t n = ++echo->line[i].sent;
    struct text_values values = {{[TEXT_N] = n, [TEXT_C] = peer->number}};
    uint64_t now_ns = peers_now_ns(echo->load->peers);

    *stamp(echo, i, n) = now_ns;
    peer->waiting_since_ns = now_ns;
    peer_send_text(peer, echo->scratch, text_write(&echo->send, &values, echo->scratch));
    echo->under_way++;
}

static void on_answer(void *ctx, struct peer *peer, const char *text, size_t len)
{
    struct echo *echo = ctx;
    size_t i = index_of(echo, peer);
    struct line *line = &echo->line[i];
    struct text_values values = {{[TEXT_N] = line->answered + 1, [TEXT_C] = peer->number}};
    size_t expected_len = text_write(&echo->expect, &values, echo->scratch);

    if (echo->load->options->mixed ? echo->under_way == 0 : line->answered == line->sent)
        peer_fail_unexpected(peer, text, len, NULL, 0);
    if (len != expected_len || memcmp(text, echo->scratch, len) != 0)
        peer_fail_unexpected(peer, text, len, echo->scratch, expected_len);
    line->answered++;
    echo->under_way--;
    if (echo->is_measuring)
        stats_add(echo->stats, peers_now_ns(echo->load->peers) - *stamp(echo, i, line->answered));
    peer->waiting_since_ns = peers_now_ns(echo->load->peers);
    if (!echo->is_ending)
        send_next(echo, peer);
    else if (echo->load->options->mixed || line->answered == line->sent)
        peer->waiting_since_ns = 0;
}

static void on_idle_text(void *ctx, struct peer *peer, const char *text, size_t len)
{
    (void)ctx;
    peer_fail_unexpected(peer, text, len, NULL, 0);
}

static void init(struct echo *echo)
{
    const struct options *options = echo->load->options;
    struct group_plan idle = {
        .name = "idle connection", .count = options->idle, .on_text = on_idle_text, .ctx = echo};
    struct group_plan active = {
        .name = "connection", .count = options->connections, .on_text = on_answer, .ctx = echo};

    text_compile(&echo->send, options->send, options->pad);
    text_compile(&echo->expect, options->expect ? options->expect : options->send, options->pad);
    echo->scratch = load_alloc(1, echo->send.longest + echo->expect.longest);
    echo->line = load_alloc(options->connections, sizeof *echo->line);
    echo->sent_at_ns =
        load_alloc(options->connections * options->in_flight, sizeof *echo->sent_at_ns);
    echo->stats = load_alloc(1, sizeof *echo->stats);
    group_init(&echo->idle, echo->load, &idle);
    group_init(&echo->active, echo->load, &active);
}

static void done(struct echo *echo)
{
    peers_free(echo->load->peers);
    group_done(&echo->idle);
    group_done(&echo->active);
    text_free(&echo->send);
    text_free(&echo->expect);
    free(echo->scratch);
    free(echo->line);
    free(echo->sent_at_ns);
    free(echo->stats);
}

static void send_first(struct echo *echo)
{
    const struct options *options = echo->load->options;

    for (size_t i = 0; i < options->connections; i++)
        for (size_t j = 0; j < options->in_flight; j++)
            send_next(echo, &echo->active.peer[i]);
}

static void print(const struct echo *echo, double seconds)
{
    uint64_t count = echo->stats->count;

    load_print_result("\"messages\":%llu,\"seconds\":%.6f,\"per_second\":%.1f,"
                      "\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f",
                      (unsigned long long)count, seconds, (double)count / seconds,
                      stats_percentile(echo->stats, 50) / 1000,
                      stats_percentile(echo->stats, 99) / 1000, (double)echo->stats->max_ns / 1000);
}

/* What is sent in the warm-up and answered in the measured time counts: as many are sent in the
 * measured time and answered after it. */
void load_echo(struct load *load)
{
    struct echo echo = {.load = load};
    uint64_t begin_ns;
    double seconds;

    init(&echo);
    group_open(&echo.idle);
    group_open(&echo.active);
    peers_run_for(load->peers, 0);
    send_first(&echo);
    peers_run_for(load->peers, load_ns(load->options->warmup));
    begin_ns = peers_now_ns(load->peers);
    echo.is_measuring = true;
    peers_run_for(load->peers, load_ns(load->options->seconds));
    seconds = load_seconds_since(load, begin_ns);
    echo.is_measuring = false;
    echo.is_ending = true;
    while (echo.under_way)
        peers_turn(load->peers, UINT64_MAX);
    load_settle(load);
    print(&echo, seconds);
    done(&echo);
}

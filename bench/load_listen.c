/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_listen.c - the modes "listen" and "idle": connections that others send to, or nobody.
 *
 * Both print "ready" when all are open.  "listen" then takes a line "expect M" from stdin, and ends
 * when every listener has got M messages since the beginning; "idle" ends when stdin does.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load_group.h"

enum { LINE_BYTES = 256, SENDERS = 1024 * 1024 };

struct listener {
    uint64_t *received; /* from each sender */
    size_t senders;     /* how many of these there are */
    uint64_t total;
};

struct listening {
    struct load *load;
    struct group group;
    struct listener *listener;
    struct text expect;
    char line[LINE_BYTES];
    size_t line_len;
    uint64_t expected; /* UINT64_MAX before it is known */
    size_t complete;   /* listeners that have so many */
    uint64_t messages;
    uint64_t first_ns, last_ns;
    bool is_input_over;
};

/* ---- stdin ---- */

static void take_line(struct listening *listening, const char *line)
{
    char *end;
    unsigned long long expected;

    if (strncmp(line, "expect ", 7) != 0 || line[7] < '0' || line[7] > '9')
        load_fail("stdin: \"%s\" is not understood", line);
    expected = strtoull(line + 7, &end, 10);
    if (*end)
        load_fail("stdin: \"%s\" is not understood", line);
    listening->expected = expected;
    listening->last_ns = peers_now_ns(listening->load->peers);
    listening->complete = 0;
    for (size_t i = 0; i < listening->group.plan.count; i++) {
        uint64_t total = listening->listener[i].total;
        if (total > expected)
            peer_fail(&listening->group.peer[i], "%llu messages came already",
                      (unsigned long long)total);
        listening->complete += total == expected;
    }
}

static void take_lines(struct listening *listening)
{
    char *line = listening->line;
    char *end;

    listening->line[listening->line_len] = '\0';
    while ((end = strchr(line, '\n'))) {
        *end = '\0';
        take_line(listening, line);
        line = end + 1;
    }
    listening->line_len = strlen(line);
    memmove(listening->line, line, listening->line_len + 1);
}

static void read_stdin(void *ctx)
{
    struct listening *listening = ctx;
    size_t room = LINE_BYTES - 1 - listening->line_len;
    ssize_t n = read(STDIN_FILENO, listening->line + listening->line_len, room);

    if (n < 0 && errno == EINTR)
        return;
    if (n < 0 || !room)
        load_fail("cannot read stdin: %s", room ? strerror(errno) : "a line is too long");
    if (n == 0) {
        listening->is_input_over = true;
        peers_unwatch_fd(listening->load->peers, STDIN_FILENO);
        return;
    }
    listening->line_len += (size_t)n;
    if (listening->listener)
        take_lines(listening);
    else
        listening->line_len = 0;
}

/* ---- messages ---- */

/* Where the count of what sender c has sent to this listener is. */
static uint64_t *received_of(struct listener *listener, const struct peer *peer, uint64_t c)
{
    size_t senders = listener->senders ? listener->senders : 1;

    if (c >= SENDERS)
        peer_fail(peer, "there cannot be a sender %llu", (unsigned long long)c);
    while (senders <= c)
        senders *= 2;
    if (senders > listener->senders) {
        listener->received = realloc(listener->received, senders * sizeof(uint64_t));
        if (!listener->received)
            load_fail("out of memory");
        memset(listener->received + listener->senders, 0,
               (senders - listener->senders) * sizeof(uint64_t));
        listener->senders = senders;
    }
    return &listener->received[c];
}

static void count_message(struct listening *listening, struct listener *listener,
                          const struct peer *peer)
{
    if (listener->total == listening->expected)
        peer_fail(peer, "more than %llu messages came", (unsigned long long)listener->total);
    listener->total++;
    listening->complete += listener->total == listening->expected;
    listening->messages++;
    listening->last_ns = peers_now_ns(listening->load->peers);
    if (!listening->first_ns)
        listening->first_ns = listening->last_ns;
}

static void on_message(void *ctx, struct peer *peer, const char *text, size_t len)
{
    struct listening *listening = ctx;
    size_t i = (size_t)(peer - listening->group.peer);
    struct listener *listener = &listening->listener[i];
    struct text_values values = {{[TEXT_T] = peer->number % listening->load->options->topics}};
    uint64_t topic = values.of[TEXT_T];
    uint64_t *received;

    if (!text_read(&listening->expect, text, len, &values) || values.of[TEXT_T] != topic)
        peer_fail(peer, "\"%.*s\" is not what is expected", (int)(len < 300 ? len : 300), text);
    received = received_of(listener, peer, values.of[TEXT_C]);
    if (values.of[TEXT_N] != *received + 1)
        peer_fail(peer, "message %llu of sender %llu was expected, but \"%.*s\" came",
                  (unsigned long long)*received + 1, (unsigned long long)values.of[TEXT_C],
                  (int)(len < 300 ? len : 300), text);
    (*received)++;
    count_message(listening, listener, peer);
}

static void on_idle_text(void *ctx, struct peer *peer, const char *text, size_t len)
{
    (void)ctx;
    peer_fail_unexpected(peer, text, len, NULL, 0);
}

/* ---- the modes ---- */

static void open_all(struct listening *listening, const struct group_plan *plan)
{
    group_init(&listening->group, listening->load, plan);
    group_open(&listening->group);
    peers_watch_fd(listening->load->peers, STDIN_FILENO, read_stdin, listening);
    peers_run_for(listening->load->peers, 0);
    puts("ready");
    fflush(stdout);
}

_Noreturn static void fail_missing(const struct listening *listening)
{
    for (size_t i = 0; i < listening->group.plan.count; i++) {
        uint64_t total = listening->listener[i].total;
        if (total != listening->expected)
            peer_fail(&listening->group.peer[i],
                      "%llu messages were expected, but %llu came (%zu of %zu listeners have all)",
                      (unsigned long long)listening->expected, (unsigned long long)total,
                      listening->complete, listening->group.plan.count);
    }
    load_fail("messages are missing");
}

static void wait_for_messages(struct listening *listening)
{
    struct peers *peers = listening->load->peers;

    while (listening->complete < listening->group.plan.count) {
        peers_turn(peers, peers_now_ns(peers) + NS_PER_SECOND);
        if (listening->is_input_over && listening->expected == UINT64_MAX)
            load_fail("stdin ended before it said what to expect");
        if (listening->expected != UINT64_MAX &&
            listening->last_ns + peers_timeout_ns(peers) < peers_now_ns(peers))
            fail_missing(listening);
    }
}

void load_listen(struct load *load)
{
    struct listening listening = {.load = load, .expected = UINT64_MAX};
    const struct options *options = load->options;
    struct group_plan plan = {.name = "listener",
                              .count = options->connections,
                              .topics = options->topics,
                              .on_text = on_message,
                              .ctx = &listening};

    text_compile(&listening.expect, options->expect, options->pad);
    if (!listening.expect.has[TEXT_N])
        load_usage("--expect has no {n}");
    listening.listener = load_alloc(options->connections, sizeof *listening.listener);
    open_all(&listening, &plan);
    wait_for_messages(&listening);
    load_settle(load);
    load_print_result("\"messages\":%llu,\"seconds\":%.6f", (unsigned long long)listening.messages,
                      listening.first_ns
                          ? (double)(listening.last_ns - listening.first_ns) / (double)NS_PER_SECOND
                          : 0.0);
    peers_free(load->peers);
    group_done(&listening.group);
    for (size_t i = 0; i < options->connections; i++)
        free(listening.listener[i].received);
    free(listening.listener);
    text_free(&listening.expect);
}

void load_idle(struct load *load)
{
    struct listening listening = {.load = load};
    struct group_plan plan = {.name = "idle connection",
                              .count = load->options->connections,
                              .on_text = on_idle_text,
                              .ctx = &listening};
    uint64_t begin_ns;

    open_all(&listening, &plan);
    begin_ns = peers_now_ns(load->peers);
    while (!listening.is_input_over)
        peers_turn(load->peers, UINT64_MAX);
    load_print_result("\"connections\":%zu,\"seconds\":%.6f", listening.group.plan.count,
                      load_seconds_since(load, begin_ns));
    peers_free(load->peers);
    group_done(&listening.group);
}

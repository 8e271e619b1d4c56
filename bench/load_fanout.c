/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_fanout.c - the mode "fanout": what is published once has to arrive at every subscriber.
 *
 * The messages are numbered from 1, whoever publishes them.  At most `outstanding` of them are
 * under way: the next one is published when the oldest has arrived everywhere.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "load_group.h"
#include "load_http.h"
#include "load_stats.h"

enum { HTTP_HEAD_BYTES = 2048 };

/* A message that is under way: number n is in slot n % outstanding. */
struct message {
    struct bytes expected;
    uint64_t published_at_ns;
    size_t missing; /* receivers */
};

struct publisher {
    uint64_t asked;    /* messages it has published */
    uint64_t answered; /* replies, or answers of HTTP */
    uint64_t *asked_n; /* the numbers of the newest ones; outstanding slots */
};

struct fanout {
    struct load *load;
    struct group subscribers;
    struct group publishers; /* WebSocket */
    struct peer *http;       /* or these */
    struct text http_head;
    struct peer_events http_events;
    struct sockaddr_in http_server[GROUP_PORTS];
    struct publisher *publisher;
    struct text send, expect, reply;
    char *scratch;
    struct message *message;
    uint64_t *received; /* per receiver: how many; when unordered, per slot: which one */
    uint64_t next_n;    /* the one to be published next */
    uint64_t oldest_n;  /* the oldest that has not arrived everywhere */
    size_t receivers;
    size_t next_publisher;
    struct stats *stats;
    uint64_t deliveries;
    bool is_http;
    bool has_reply;
    bool is_measuring;
    bool is_ending;
};

static struct message *message_of(const struct fanout *fanout, uint64_t n)
{
    return &fanout->message[n % fanout->load->options->outstanding];
}

/* ---- publishing ---- */

static struct peer *publisher_peer(const struct fanout *fanout, size_t i)
{
    return fanout->is_http ? &fanout->http[i] : &fanout->publishers.peer[i];
}

static void remember(struct fanout *fanout, size_t i, const struct text_values *values)
{
    struct message *message = message_of(fanout, values->of[TEXT_N]);
    struct publisher *publisher = &fanout->publisher[i];
    uint64_t now_ns = peers_now_ns(fanout->load->peers);

    message->expected.len = 0;
    message->expected.len =
        text_write(&fanout->expect, values, bytes_room(&message->expected, fanout->expect.longest));
    message->published_at_ns = now_ns;
    message->missing = fanout->receivers;
    publisher->asked_n[publisher->asked++ % fanout->load->options->outstanding] =
        values->of[TEXT_N];
    if (fanout->is_http || fanout->has_reply)
        publisher_peer(fanout, i)->waiting_since_ns = now_ns;
}

static void post(struct fanout *fanout, struct peer *peer, const struct text_values *values,
                 size_t body_len)
{
    char head[HTTP_HEAD_BYTES];
    size_t len = text_write(&fanout->http_head, values, head);

    len += text_write_number(head + len, body_len);
    memcpy(head + len, "\r\n\r\n", 4);
    peer_send_bytes(peer, head, len + 4);
    peer_send_bytes(peer, fanout->scratch, body_len);
}

static void publish(struct fanout *fanout, size_t i)
{
    struct peer *peer = publisher_peer(fanout, i);
    struct text_values values = {{[TEXT_N] = fanout->next_n++, [TEXT_C] = peer->number}};
    size_t len = text_write(&fanout->send, &values, fanout->scratch);

    remember(fanout, i, &values);
    if (fanout->is_http)
        post(fanout, peer, &values, len);
    else
        peer_send_text(peer, fanout->scratch, len);
}

/* Returns the next publisher in turn that may publish: over HTTP one that has its answer, over
 * WebSocket one whose oldest question is not so old that asked_n has forgotten it.  Returns count
 * when there is none. */
static size_t find_publisher(struct fanout *fanout)
{
    size_t count = fanout->load->options->publish_connections;
    uint64_t most = fanout->is_http ? 1 : fanout->load->options->outstanding;

    for (size_t tried = 0; tried < count; tried++) {
        size_t i = fanout->next_publisher;
        const struct publisher *publisher = &fanout->publisher[i];
        fanout->next_publisher = (i + 1) % count;
        if (publisher->asked - publisher->answered < most ||
            (!fanout->is_http && !fanout->has_reply))
            return i;
    }
    return count;
}

static void publish_more(struct fanout *fanout)
{
    const struct options *options = fanout->load->options;

    while (!fanout->is_ending && fanout->next_n - fanout->oldest_n < options->outstanding) {
        size_t i = find_publisher(fanout);
        if (i == options->publish_connections)
            return;
        publish(fanout, i);
    }
}

/* ---- receiving ---- */

static void complete_messages(struct fanout *fanout)
{
    while (fanout->oldest_n < fanout->next_n && !message_of(fanout, fanout->oldest_n)->missing)
        fanout->oldest_n++;
    publish_more(fanout);
}

static void count_delivery(struct fanout *fanout, uint64_t n)
{
    struct message *message = message_of(fanout, n);

    fanout->deliveries++;
    if (--message->missing)
        return;
    if (fanout->is_measuring)
        stats_add(fanout->stats, peers_now_ns(fanout->load->peers) - message->published_at_ns);
    if (n == fanout->oldest_n)
        complete_messages(fanout);
}

static bool is_expected(const struct fanout *fanout, uint64_t n, const char *text, size_t len)
{
    const struct bytes *expected = &message_of(fanout, n)->expected;

    return n >= fanout->oldest_n && n < fanout->next_n && len == expected->len &&
           memcmp(text, expected->data, len) == 0;
}

/* Returns the number of the message that the receiver got; 0 when it should not have got it. */
static uint64_t take_delivery(struct fanout *fanout, size_t receiver, const char *text, size_t len)
{
    size_t outstanding = fanout->load->options->outstanding;
    struct text_values values = {{0}};
    uint64_t n;

    if (!fanout->load->options->is_unordered) {
        n = fanout->received[receiver] + 1;
        if (!is_expected(fanout, n, text, len))
            return 0;
        return fanout->received[receiver] = n;
    }
    if (!text_read(&fanout->expect, text, len, &values))
        return 0;
    n = values.of[TEXT_N];
    if (!is_expected(fanout, n, text, len) ||
        fanout->received[receiver * outstanding + n % outstanding] == n)
        return 0;
    return fanout->received[receiver * outstanding + n % outstanding] = n;
}

_Noreturn static void fail_delivery(const struct fanout *fanout, size_t receiver,
                                    const struct peer *peer, const char *text, size_t len)
{
    const struct bytes *expected;
    uint64_t n = fanout->oldest_n;

    if (fanout->load->options->is_unordered)
        peer_fail(peer, "\"%.*s\" is wrong, was there before, or is none of messages %llu to %llu",
                  (int)(len < 300 ? len : 300), text, (unsigned long long)n,
                  (unsigned long long)fanout->next_n - 1);
    n = fanout->received[receiver] + 1;
    expected = &message_of(fanout, n)->expected;
    if (n >= fanout->next_n)
        peer_fail_unexpected(peer, text, len, NULL, 0);
    peer_fail_unexpected(peer, text, len, expected->data, expected->len);
}

static void on_subscriber_text(void *ctx, struct peer *peer, const char *text, size_t len)
{
    struct fanout *fanout = ctx;
    size_t receiver = (size_t)(peer - fanout->subscribers.peer);
    uint64_t n = take_delivery(fanout, receiver, text, len);

    if (!n)
        fail_delivery(fanout, receiver, peer, text, len);
    count_delivery(fanout, n);
}

static void count_answer(struct fanout *fanout, struct peer *peer, struct publisher *publisher)
{
    if (publisher->answered == publisher->asked)
        peer_fail(peer, "an answer came that nobody asked for");
    publisher->answered++;
    peer->waiting_since_ns = 0;
    if (publisher->answered < publisher->asked)
        peer->waiting_since_ns = peers_now_ns(fanout->load->peers);
    publish_more(fanout);
}

static void take_reply(struct fanout *fanout, struct peer *peer, size_t i, const char *text,
                       size_t len)
{
    struct publisher *publisher = &fanout->publisher[i];
    uint64_t n = publisher->asked_n[publisher->answered % fanout->load->options->outstanding];
    struct text_values values = {{[TEXT_N] = n, [TEXT_C] = peer->number}};
    size_t expected_len = text_write(&fanout->reply, &values, fanout->scratch);

    if (len != expected_len || memcmp(text, fanout->scratch, len) != 0)
        peer_fail_unexpected(peer, text, len, fanout->scratch, expected_len);
    count_answer(fanout, peer, publisher);
}

/* Without a reply to compare with, a publisher that hears nothing may get anything. */
static void on_publisher_text(void *ctx, struct peer *peer, const char *text, size_t len)
{
    struct fanout *fanout = ctx;
    size_t i = (size_t)(peer - fanout->publishers.peer);
    bool hears = fanout->load->options->publisher_hears;
    size_t receiver = fanout->load->options->connections + i;
    uint64_t n = hears ? take_delivery(fanout, receiver, text, len) : 0;

    if (n)
        count_delivery(fanout, n);
    else if (fanout->has_reply)
        take_reply(fanout, peer, i, text, len);
    else if (hears)
        fail_delivery(fanout, receiver, peer, text, len);
}

static size_t on_http_bytes(struct peer *peer, const char *data, size_t len)
{
    struct fanout *fanout = peer->owner;
    size_t at = 0;
    size_t size;

    while ((size = http_take_answer(peer, data + at, len - at)) > 0) {
        at += size;
        count_answer(fanout, peer, &fanout->publisher[peer->number]);
    }
    return at;
}

/* ---- beginning and end ---- */

static void init_http(struct fanout *fanout)
{
    const struct options *options = fanout->load->options;
    const char *ports = options->publish_ports ? options->publish_ports : options->ports;
    struct bytes head = {0};

    bytes_adds(&head, "POST ");
    bytes_adds(&head, options->publish_path ? options->publish_path : options->path);
    bytes_adds(&head, " HTTP/1.1\r\nHost: ");
    bytes_adds(&head, options->host);
    bytes_adds(&head, "\r\nContent-Type: application/json\r\n");
    for (size_t i = 0; i < options->publish_headers; i++) {
        bytes_adds(&head, options->publish_header[i]);
        bytes_adds(&head, "\r\n");
    }
    bytes_add(&head, "Content-Length: ", sizeof "Content-Length: ");
    text_compile(&fanout->http_head, head.data, options->pad);
    if (fanout->http_head.longest + TEXT_NUMBER_BYTES + 4 > HTTP_HEAD_BYTES)
        load_usage("--publish-path and --publish-header are too long");
    bytes_free(&head);
    fanout->http_events.on_bytes = on_http_bytes;
    fanout->http = load_alloc(options->publish_connections, sizeof *fanout->http);
    peers_watch(fanout->load->peers, fanout->http, options->publish_connections);
    group_read_ports(options->host, ports, fanout->http_server);
}

static void open_http(struct fanout *fanout)
{
    for (size_t i = 0; i < fanout->load->options->publish_connections; i++) {
        struct peer *peer = &fanout->http[i];
        peer->peers = fanout->load->peers;
        peer->events = &fanout->http_events;
        peer->owner = fanout;
        peer->name = "publisher";
        peer->number = i;
        peer_open(peer, &fanout->http_server[0], NULL, 0);
    }
}

static void init_groups(struct fanout *fanout)
{
    const struct options *options = fanout->load->options;
    struct group_plan subscribers = {.name = "subscriber",
                                     .count = options->connections,
                                     .on_text = on_subscriber_text,
                                     .ctx = fanout};
    struct group_plan publishers = {.name = "publisher",
                                    .ports = options->publish_ports,
                                    .path = options->publish_path,
                                    .setup = options->publish_setup,
                                    .setup_reply = options->publish_setup_reply,
                                    .count = options->publish_connections,
                                    .is_bare = true,
                                    .on_text = on_publisher_text,
                                    .ctx = fanout};

    if (fanout->is_http)
        publishers.count = 0;
    group_init(&fanout->subscribers, fanout->load, &subscribers);
    group_init(&fanout->publishers, fanout->load, &publishers);
    if (fanout->is_http)
        init_http(fanout);
}

static void init_texts(struct fanout *fanout)
{
    const struct options *options = fanout->load->options;

    text_compile(&fanout->send, options->send, options->pad);
    text_compile(&fanout->expect, options->expect ? options->expect : options->send, options->pad);
    text_compile(&fanout->reply, options->publish_reply ? options->publish_reply : "",
                 options->pad);
    fanout->has_reply = options->publish_reply && *options->publish_reply;
    if (options->is_unordered && !fanout->expect.has[TEXT_N])
        load_usage("--unordered needs {n} in the expected text");
    fanout->scratch = load_alloc(1, fanout->send.longest + fanout->reply.longest);
}

static void init(struct fanout *fanout)
{
    const struct options *options = fanout->load->options;
    size_t outstanding = options->outstanding;
    size_t per_receiver = options->is_unordered ? outstanding : 1;

    fanout->is_http = strcmp(options->publish, "http") == 0;
    if (!fanout->is_http && strcmp(options->publish, "ws") != 0)
        load_usage("--publish is ws or http");
    if (fanout->is_http && options->publisher_hears)
        load_usage("--publisher-hears needs --publish ws");
    fanout->next_n = fanout->oldest_n = 1;
    fanout->receivers =
        options->connections + (options->publisher_hears ? options->publish_connections : 0);
    init_texts(fanout);
    fanout->message = load_alloc(outstanding, sizeof *fanout->message);
    fanout->received = load_alloc(fanout->receivers * per_receiver, sizeof *fanout->received);
    fanout->publisher = load_alloc(options->publish_connections, sizeof *fanout->publisher);
    for (size_t i = 0; i < options->publish_connections; i++)
        fanout->publisher[i].asked_n = load_alloc(outstanding, sizeof(uint64_t));
    fanout->stats = load_alloc(1, sizeof *fanout->stats);
    init_groups(fanout);
}

static void done(struct fanout *fanout)
{
    const struct options *options = fanout->load->options;

    peers_free(fanout->load->peers);
    group_done(&fanout->subscribers);
    group_done(&fanout->publishers);
    for (size_t i = 0; i < options->outstanding; i++)
        bytes_free(&fanout->message[i].expected);
    for (size_t i = 0; i < options->publish_connections; i++)
        free(fanout->publisher[i].asked_n);
    text_free(&fanout->http_head);
    text_free(&fanout->send);
    text_free(&fanout->expect);
    text_free(&fanout->reply);
    free(fanout->http);
    free(fanout->publisher);
    free(fanout->message);
    free(fanout->received);
    free(fanout->scratch);
    free(fanout->stats);
}

/* Says which receiver has not got the oldest message: nobody is told per peer, because that would
 * be a store per receiver and message. */
static void check_oldest(const struct fanout *fanout)
{
    const struct options *options = fanout->load->options;
    uint64_t n = fanout->oldest_n;
    const struct message *message = message_of(fanout, n);

    if (n == fanout->next_n || message->published_at_ns + peers_timeout_ns(fanout->load->peers) >
                                   peers_now_ns(fanout->load->peers))
        return;
    for (size_t i = 0; i < fanout->receivers; i++) {
        bool has = options->is_unordered
                       ? fanout->received[i * options->outstanding + n % options->outstanding] == n
                       : fanout->received[i] >= n;
        if (!has)
            load_fail("message %llu did not come in time to %zu of %zu receivers, %zu among them",
                      (unsigned long long)n, message->missing, fanout->receivers, i);
    }
}

static void run_for(struct fanout *fanout, double seconds)
{
    struct peers *peers = fanout->load->peers;
    uint64_t end_ns = load_now_ns() + load_ns(seconds);

    do {
        uint64_t check_ns = load_now_ns() + NS_PER_SECOND;
        peers_turn(peers, check_ns < end_ns ? check_ns : end_ns);
        check_oldest(fanout);
    } while (peers_now_ns(peers) < end_ns);
}

static bool is_all_answered(const struct fanout *fanout)
{
    for (size_t i = 0; i < fanout->load->options->publish_connections; i++) {
        const struct publisher *publisher = &fanout->publisher[i];
        if ((fanout->is_http || fanout->has_reply) && publisher->answered < publisher->asked)
            return false;
    }
    return true;
}

static void print(const struct fanout *fanout, uint64_t deliveries, double seconds)
{
    const struct stats *stats = fanout->stats;

    load_print_result("\"messages\":%llu,\"deliveries\":%llu,\"seconds\":%.6f,"
                      "\"messages_per_second\":%.1f,\"deliveries_per_second\":%.1f,"
                      "\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"published_in_all\":%llu",
                      (unsigned long long)stats->count, (unsigned long long)deliveries, seconds,
                      (double)stats->count / seconds, (double)deliveries / seconds,
                      stats_percentile(stats, 50) / 1000, stats_percentile(stats, 99) / 1000,
                      (double)stats->max_ns / 1000, (unsigned long long)fanout->next_n - 1);
}

void load_fanout(struct load *load)
{
    struct fanout fanout = {.load = load};
    uint64_t begin_ns, before, deliveries;
    double seconds;

    init(&fanout);
    group_open(&fanout.subscribers);
    group_open(&fanout.publishers);
    if (fanout.is_http)
        open_http(&fanout);
    publish_more(&fanout);
    run_for(&fanout, load->options->warmup);
    begin_ns = peers_now_ns(load->peers);
    before = fanout.deliveries;
    fanout.is_measuring = true;
    run_for(&fanout, load->options->seconds);
    seconds = load_seconds_since(load, begin_ns);
    deliveries = fanout.deliveries - before;
    fanout.is_measuring = false;
    fanout.is_ending = true;
    while (fanout.oldest_n < fanout.next_n || !is_all_answered(&fanout))
        run_for(&fanout, 0.001);
    load_settle(load);
    print(&fanout, deliveries, seconds);
    done(&fanout);
}

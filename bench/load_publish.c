/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_publish.c - the mode "publish": many publishers, and the subscribers of their topics.
 *
 * Publisher c publishes to topic c % topics, and numbers its messages from 1.  Every subscriber of
 * the topic has to get the messages of each of its publishers once and in order; who published
 * what is read from the text.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "load_group.h"
#include "load_stats.h"

enum { STAMPS = 1024 }; /* newest messages of a publisher whose time of sending is known */

struct publisher {
    uint64_t sent;
    uint64_t acknowledged;
    uint64_t sent_at_ns[STAMPS];
};

struct publishing {
    struct load *load;
    struct group subscribers;
    struct group publishers;
    struct publisher *publisher;
    size_t per_topic;   /* publishers of one topic, at most */
    uint64_t *received; /* per subscriber and publisher of its topic: how many */
    struct text send, reply, expect;
    char *scratch;
    struct stats *acknowledgements;
    struct stats *arrivals;
    uint64_t deliveries;
    uint64_t under_way; /* not acknowledged */
    uint64_t missing;   /* not delivered */
    bool has_reply;
    bool is_measuring;
    bool is_ending;
};

static struct text_values values_of(const struct publishing *publishing, size_t c, uint64_t n)
{
    const struct options *options = publishing->load->options;

    return (struct text_values){
        {[TEXT_N] = n, [TEXT_C] = c + options->first_number, [TEXT_T] = c % options->topics}};
}

static void send_next(struct publishing *publishing, size_t c)
{
    struct peer *peer = &publishing->publishers.peer[c];
    struct publisher *publisher = &publishing->publisher[c];
    uint64_t n = ++publisher->sent;
    struct text_values values = values_of(publishing, c, n);
    uint64_t now_ns = peers_now_ns(publishing->load->peers);
    size_t len = text_write(&publishing->send, &values, publishing->scratch);

    publisher->sent_at_ns[n % STAMPS] = now_ns;
    peer->waiting_since_ns = now_ns;
    publishing->under_way++;
    publishing->missing += publishing->load->options->topic_size;
    peer_send_text(peer, publishing->scratch, len);
}

static void acknowledge(struct publishing *publishing, size_t c)
{
    struct publisher *publisher = &publishing->publisher[c];
    struct peer *peer = &publishing->publishers.peer[c];
    uint64_t now_ns = peers_now_ns(publishing->load->peers);
    uint64_t n = ++publisher->acknowledged;

    publishing->under_way--;
    if (publishing->is_measuring)
        stats_add(publishing->acknowledgements, now_ns - publisher->sent_at_ns[n % STAMPS]);
    peer->waiting_since_ns = now_ns;
    if (!publishing->is_ending)
        send_next(publishing, c);
    else if (n == publisher->sent)
        peer->waiting_since_ns = 0;
}

static void on_reply(void *ctx, struct peer *peer, const char *text, size_t len)
{
    struct publishing *publishing = ctx;
    size_t c = (size_t)(peer - publishing->publishers.peer);
    const struct publisher *publisher = &publishing->publisher[c];
    struct text_values values = values_of(publishing, c, publisher->acknowledged + 1);
    size_t expected_len;

    if (!publishing->has_reply || publisher->acknowledged == publisher->sent)
        peer_fail_unexpected(peer, text, len, NULL, 0);
    expected_len = text_write(&publishing->reply, &values, publishing->scratch);
    if (len != expected_len || memcmp(text, publishing->scratch, len) != 0)
        peer_fail_unexpected(peer, text, len, publishing->scratch, expected_len);
    acknowledge(publishing, c);
}

static void count_delivery(struct publishing *publishing, size_t c, uint64_t n)
{
    const struct publisher *publisher = &publishing->publisher[c];
    uint64_t now_ns = peers_now_ns(publishing->load->peers);

    publishing->missing--;
    if (publishing->is_measuring) {
        publishing->deliveries++;
        if (n + STAMPS > publisher->sent)
            stats_add(publishing->arrivals, now_ns - publisher->sent_at_ns[n % STAMPS]);
    }
    if (!publishing->has_reply && n == publisher->acknowledged + 1)
        acknowledge(publishing, c);
}

/* Finds the publisher of a text; without {c} in it the topic has only one.  Fails the run when the
 * text is not from a publisher of the topic. */
static size_t find_publisher(const struct publishing *publishing, const struct peer *peer,
                             size_t topic, const char *text, size_t len, uint64_t *n)
{
    const struct options *options = publishing->load->options;
    struct text_values values = {{0}};
    uint64_t c = topic;

    if (!text_read(&publishing->expect, text, len, &values))
        peer_fail(peer, "\"%.*s\" is not what is expected", (int)(len < 300 ? len : 300), text);
    if (publishing->expect.has[TEXT_C])
        c = values.of[TEXT_C] - options->first_number;
    if (c >= options->publishers || c % options->topics != topic ||
        (publishing->expect.has[TEXT_T] && values.of[TEXT_T] != topic))
        peer_fail(peer, "\"%.*s\" is not of topic %zu", (int)(len < 300 ? len : 300), text, topic);
    *n = values.of[TEXT_N];
    return (size_t)c;
}

static void on_delivery(void *ctx, struct peer *peer, const char *text, size_t len)
{
    struct publishing *publishing = ctx;
    const struct options *options = publishing->load->options;
    size_t i = (size_t)(peer - publishing->subscribers.peer);
    uint64_t n;
    size_t c = find_publisher(publishing, peer, i / options->topic_size, text, len, &n);
    uint64_t *received = &publishing->received[i * publishing->per_topic + c / options->topics];

    if (n != *received + 1 || n > publishing->publisher[c].sent)
        peer_fail(peer, "message %llu of publisher %zu was expected, but \"%.*s\" came",
                  (unsigned long long)*received + 1, c, (int)(len < 300 ? len : 300), text);
    *received = n;
    count_delivery(publishing, c, n);
}

/* ---- beginning and end ---- */

static void init_groups(struct publishing *publishing)
{
    const struct options *options = publishing->load->options;
    struct group_plan subscribers = {.name = "subscriber",
                                     .ports = options->subscriber_ports,
                                     .path = options->subscriber_path,
                                     .setup = options->subscriber_setup,
                                     .setup_reply = options->subscriber_setup_reply,
                                     .count = options->topics * options->topic_size,
                                     .topic_size = options->topic_size,
                                     .is_bare = true,
                                     .on_text = on_delivery,
                                     .ctx = publishing};
    struct group_plan publishers = {.name = "publisher",
                                    .count = options->publishers,
                                    .topics = options->topics,
                                    .on_text = on_reply,
                                    .ctx = publishing};

    group_init(&publishing->subscribers, publishing->load, &subscribers);
    group_init(&publishing->publishers, publishing->load, &publishers);
}

static void init_texts(struct publishing *publishing)
{
    const struct options *options = publishing->load->options;

    text_compile(&publishing->send, options->send, options->pad);
    text_compile(&publishing->expect, options->expect ? options->expect : options->send,
                 options->pad);
    text_compile(&publishing->reply, options->reply, options->pad);
    publishing->has_reply = *options->reply;
    publishing->scratch = load_alloc(1, publishing->send.longest + publishing->reply.longest);
    if (!publishing->expect.has[TEXT_N])
        load_usage("--expect has no {n}");
    if (!publishing->expect.has[TEXT_C] && publishing->per_topic > 1)
        load_usage("--expect needs {c} when a topic has several publishers");
}

static void init(struct publishing *publishing)
{
    const struct options *options = publishing->load->options;
    size_t subscribers = options->topics * options->topic_size;

    if (options->in_flight > STAMPS)
        load_usage("--in-flight is more than %d", STAMPS);
    publishing->per_topic = (options->publishers + options->topics - 1) / options->topics;
    init_texts(publishing);
    publishing->publisher = load_alloc(options->publishers, sizeof *publishing->publisher);
    publishing->received =
        load_alloc(subscribers * publishing->per_topic, sizeof *publishing->received);
    publishing->acknowledgements = load_alloc(1, sizeof(struct stats));
    publishing->arrivals = load_alloc(1, sizeof(struct stats));
    init_groups(publishing);
}

static void done(struct publishing *publishing)
{
    peers_free(publishing->load->peers);
    group_done(&publishing->subscribers);
    group_done(&publishing->publishers);
    text_free(&publishing->send);
    text_free(&publishing->reply);
    text_free(&publishing->expect);
    free(publishing->publisher);
    free(publishing->received);
    free(publishing->scratch);
    free(publishing->acknowledgements);
    free(publishing->arrivals);
}

static void send_first(struct publishing *publishing)
{
    const struct options *options = publishing->load->options;

    for (size_t c = 0; c < options->publishers; c++)
        for (size_t j = 0; j < options->in_flight; j++)
            send_next(publishing, c);
}

_Noreturn static void fail_missing(const struct publishing *publishing)
{
    const struct options *options = publishing->load->options;

    for (size_t i = 0; i < publishing->subscribers.plan.count; i++) {
        size_t c = i / options->topic_size;
        for (size_t j = 0; c < options->publishers; j++, c += options->topics) {
            uint64_t received = publishing->received[i * publishing->per_topic + j];
            if (received < publishing->publisher[c].sent)
                peer_fail(&publishing->subscribers.peer[i],
                          "message %llu of publisher %zu did not come in time (%llu are missing)",
                          (unsigned long long)received + 1, c,
                          (unsigned long long)publishing->missing);
        }
    }
    load_fail("%llu deliveries are missing", (unsigned long long)publishing->missing);
}

/* Until everything is acknowledged and delivered; the timeout is for the time without any. */
static void drain(struct publishing *publishing)
{
    struct peers *peers = publishing->load->peers;
    uint64_t missing = 0;
    uint64_t since_ns = peers_now_ns(peers);

    publishing->is_ending = true;
    while (publishing->under_way || publishing->missing) {
        if (publishing->missing != missing)
            since_ns = peers_now_ns(peers);
        else if (publishing->missing && since_ns + peers_timeout_ns(peers) < peers_now_ns(peers))
            fail_missing(publishing);
        missing = publishing->missing;
        peers_turn(peers, peers_now_ns(peers) + 100 * NS_PER_MS);
    }
}

/* What was published in the warm-up and at the end included: a "load listen" has to expect these.
 */
static uint64_t count_all(const struct publishing *publishing)
{
    uint64_t count = 0;

    for (size_t c = 0; c < publishing->load->options->publishers; c++)
        count += publishing->publisher[c].sent;
    return count;
}

static void print(const struct publishing *publishing, double seconds)
{
    const struct stats *acknowledgements = publishing->acknowledgements;
    const struct stats *arrivals = publishing->arrivals;
    uint64_t published = acknowledgements->count;

    load_print_result(
        "\"published\":%llu,\"seconds\":%.6f,\"per_second\":%.1f,\"deliveries\":%llu,"
        "\"deliveries_per_second\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,"
        "\"delivery_p50_us\":%.1f,\"delivery_p99_us\":%.1f,\"delivery_max_us\":%.1f,\"published_in_"
        "all\":%llu",
        (unsigned long long)published, seconds, (double)published / seconds,
        (unsigned long long)publishing->deliveries, (double)publishing->deliveries / seconds,
        stats_percentile(acknowledgements, 50) / 1000,
        stats_percentile(acknowledgements, 99) / 1000, (double)acknowledgements->max_ns / 1000,
        stats_percentile(arrivals, 50) / 1000, stats_percentile(arrivals, 99) / 1000,
        (double)arrivals->max_ns / 1000, (unsigned long long)count_all(publishing));
}

void load_publish(struct load *load)
{
    struct publishing publishing = {.load = load};
    uint64_t begin_ns;
    double seconds;

    init(&publishing);
    group_open(&publishing.subscribers);
    group_open(&publishing.publishers);
    peers_run_for(load->peers, 0);
    send_first(&publishing);
    peers_run_for(load->peers, load_ns(load->options->warmup));
    begin_ns = peers_now_ns(load->peers);
    publishing.is_measuring = true;
    peers_run_for(load->peers, load_ns(load->options->seconds));
    seconds = load_seconds_since(load, begin_ns);
    publishing.is_measuring = false;
    drain(&publishing);
    load_settle(load);
    print(&publishing, seconds);
    done(&publishing);
}

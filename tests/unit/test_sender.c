/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sender.c - messages to @connections, against a server that answers by a script: words for
 * each connection id, one per request; the last one repeats.
 */
#include "config.h"
#include "http_client.h"
#include "loop.h"
#include "metrics.h"
#include "sender_internal.h"

#include "http_server.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

enum {
    GIVE_UP_MS = 20000,
    LATER_MS = 10000, /* a deadline that does not come */
    SHORT_MS = 200,
    TRIES_MS = 2000, /* for several tries */
    LESS_THAN_A_PAUSE_MS = 40,
    ENDPOINT_BYTES = 128,
    SEEN_MOST = 2000,
    RULES = 64,
    WORD_BYTES = 32,
    MANY = 300,
    SIDE_BY_SIDE = 8,
    SKEW_S = 3600,
    TWICE = 2
};

#define KEY "AKIDEXAMPLE"
#define SECRET_KEY "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TOKEN "token/with+signs=="

/* ---- the server ---- */

struct rule {
    const char *id;
    const char *words;
    int requests;
};

/* What the thread writes is behind the lock. */
struct gateway {
    pthread_mutex_t lock;
    struct rule rules[RULES];
    size_t rule_count;
    char *seen[SEEN_MOST]; /* the requests */
    atomic_int seen_count;
    int waiting;
    int most_waiting;
};

static const struct answer {
    const char *word;
    const char *text; /* NULL: none */
} answers[] = {
    {"200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n"},
    {"302", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"},
    {"400", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"},
    {"unknown", "HTTP/1.1 400 Bad Request\r\nContent-Length: 38\r\n\r\n"
                "{\"message\":\"Invalid connectionId: abc\"}"},
    {"403", "HTTP/1.1 403 Forbidden\r\nx-amzn-ErrorType: AccessDeniedException\r\n"
            "Content-Length: 25\r\n\r\n{\"Message\":\"secret words\"}"},
    {"old", "HTTP/1.1 403 Forbidden\r\nx-amzn-ErrorType: InvalidSignatureException\r\n"
            "Content-Length: 30\r\n\r\n{\"message\":\"Signature expired\"}"},
    {"410", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"},
    {"413", "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n"},
    {"429", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"},
    {"500", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"},
    {"503", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"},
    {"half", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"},
    {"hang", NULL},
};

static void word_of(const struct rule *rule, char out[WORD_BYTES])
{
    const char *at = rule->words;

    for (int i = 0; i < rule->requests && strchr(at, ' '); i++)
        at = strchr(at, ' ') + 1;
    snprintf(out, WORD_BYTES, "%.*s", (int)strcspn(at, " "), at);
}

static void answer_date(struct server_peer *peer)
{
    char text[256], date[64];
    time_t then = time(NULL) + SKEW_S;
    struct tm utc;

    gmtime_r(&then, &utc);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    snprintf(text, sizeof(text),
             "HTTP/1.1 403 Forbidden\r\nDate: %s\r\nContent-Length: 39\r\n\r\n"
             "{\"message\":\"Signature not yet current\"}\n",
             date);
    server_write(peer, text, strlen(text) - 1);
}

/* "meet4": answered when four wait. */
static void meet(struct gateway *gateway, struct server *server, struct server_peer *peer,
                 size_t wanted)
{
    gateway->waiting++;
    if (gateway->waiting > gateway->most_waiting)
        gateway->most_waiting = gateway->waiting;
    peer->meeting = wanted;
    server_meet(server, wanted);
    if (!peer->meeting)
        gateway->waiting = 0;
}

static void act(struct gateway *gateway, struct server *server, struct server_peer *peer,
                const char *word)
{
    static const char large[100000];

    if (strcmp(word, "close") == 0) {
        server_close(peer);
    } else if (strcmp(word, "date") == 0) {
        answer_date(peer);
    } else if (strcmp(word, "large") == 0) {
        server_answer(peer, large, sizeof(large));
    } else if (strncmp(word, "meet", 4) == 0) {
        meet(gateway, server, peer, (size_t)strtoul(word + 4, NULL, 10));
    } else {
        for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
            if (strcmp(word, answers[i].word) != 0)
                continue;
            if (answers[i].text)
                server_write(peer, answers[i].text, strlen(answers[i].text));
            return;
        }
        abort(); /* a script has a word that is none */
    }
}

static void handle(void *ctx, struct server *server, struct server_peer *peer, size_t len)
{
    struct gateway *gateway = ctx;
    const char *id = strstr(peer->in.data, "/@connections/");
    char word[WORD_BYTES] = "200";

    pthread_mutex_lock(&gateway->lock);
    if (!id || gateway->seen_count == SEEN_MOST)
        abort();
    id += strlen("/@connections/");
    gateway->seen[gateway->seen_count] = mem_strndup(peer->in.data, len);
    atomic_fetch_add(&gateway->seen_count, 1);
    for (size_t i = 0; i < gateway->rule_count; i++) {
        struct rule *rule = &gateway->rules[i];

        if (strncmp(id, rule->id, strcspn(id, " ")) != 0 || rule->id[strcspn(id, " ")])
            continue;
        word_of(rule, word);
        rule->requests++;
    }
    act(gateway, server, peer, word);
    pthread_mutex_unlock(&gateway->lock);
}

/* ---- the sender ---- */

struct fixture {
    struct loop *loop;
    struct config config;
    struct http_pool *pool;
    struct metrics metrics;
    struct sender *sender;
    struct gateway gateway;
    struct server *server;
    char endpoint[ENDPOINT_BYTES];
    int open;
};

struct outcome {
    struct fixture *f;
    int count;
    enum sender_result result;
    int at; /* how many were answered before it */
    int64_t at_ms;
};

static int answered; /* over all outcomes of a test */

static void on_done(void *ctx, enum sender_result result)
{
    struct outcome *outcome = ctx;

    assert_int_equal(outcome->count++, 0);
    outcome->result = result;
    outcome->at = answered++;
    outcome->at_ms = clock_mono_ms();
    if (--outcome->f->open == 0)
        loop_stop(outcome->f->loop);
}

static void on_give_up(void *ctx)
{
    (void)ctx;
    fail_msg("nothing has come within %d ms", GIVE_UP_MS);
}

static void run(struct fixture *f)
{
    struct timer *give_up = loop_timer(f->loop, GIVE_UP_MS, 0, on_give_up, NULL);

    loop_run(f->loop);
    loop_timer_stop(give_up);
    assert_int_equal(f->open, 0);
}

static void set_rule(struct fixture *f, const char *id, const char *words)
{
    assert_true(f->gateway.rule_count < RULES);
    pthread_mutex_lock(&f->gateway.lock);
    f->gateway.rules[f->gateway.rule_count++] = (struct rule){.id = id, .words = words};
    pthread_mutex_unlock(&f->gateway.lock);
}

static struct sender_message message_to(struct fixture *f, const char *id, const char *payload)
{
    return (struct sender_message){.action = SENDER_POST,
                                   .endpoint = f->endpoint,
                                   .connection_id = id,
                                   .payload = payload,
                                   .payload_len = strlen(payload),
                                   .deadline_ms = clock_mono_ms() + LATER_MS};
}

static void send_message(struct fixture *f, const struct sender_message *message,
                         struct outcome *outcome)
{
    *outcome = (struct outcome){.f = f};
    f->open++;
    sender_send(f->sender, message, on_done, outcome);
    assert_int_equal(outcome->count, 0);
}

static void post(struct fixture *f, const char *id, const char *payload, struct outcome *outcome)
{
    struct sender_message message = message_to(f, id, payload);

    send_message(f, &message, outcome);
}

static void expect(struct fixture *f, const char *id, const char *words, enum sender_result result,
                   int requests)
{
    int before = f->gateway.seen_count;
    struct outcome outcome;

    set_rule(f, id, words);
    post(f, id, "hello", &outcome);
    run(f);
    if (outcome.result != result)
        fail_msg("%s: result %d", words, (int)outcome.result);
    assert_int_equal(f->gateway.seen_count - before, requests);
}

static const char *seen(struct fixture *f, int index)
{
    assert_true(index < f->gateway.seen_count);
    return f->gateway.seen[index];
}

static void expect_in(const char *request, const char *text)
{
    if (!strstr(request, text))
        fail_msg("no %s in\n%s", text, request);
}

/* "name: value" of a request, in a buffer of its own; fails when it is not there. */
static char *header_of(const char *request, const char *name)
{
    char wanted[64];
    const char *at;

    snprintf(wanted, sizeof(wanted), "\r\n%s: ", name);
    at = strcasestr(request, wanted);
    if (!at) {
        fail_msg("no %s in\n%s", name, request);
        abort(); /* it does not come back, which is not known */
    }
    at += strlen(wanted);
    return mem_strndup(at, strcspn(at, "\r"));
}

static void restart(struct fixture *f)
{
    const struct sender_env env = {f->loop, &f->config, f->pool, &f->metrics};

    sender_free(f->sender);
    f->sender = sender_create(&env);
}

static void set_text(char **text, const char *value)
{
    free(*text);
    *text = mem_strdup(value);
}

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    int argc = 0;

    answered = 0;
    if (config_load(&f->config, &argc, NULL, NULL) != OK)
        return 1;
    set_text(&f->config.aws_access_key_id, KEY);
    set_text(&f->config.aws_secret_access_key, SECRET_KEY);
    set_text(&f->config.aws_session_token, TOKEN);
    pthread_mutex_init(&f->gateway.lock, NULL);
    f->server = server_start_with(handle, &f->gateway);
    snprintf(f->endpoint, sizeof(f->endpoint), "http://127.0.0.1:%u/prod", f->server->port);
    f->loop = loop_create();
    f->pool = http_pool_create(f->loop);
    restart(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    sender_free(f->sender);
    http_pool_free(f->pool);
    loop_free(f->loop);
    server_stop(f->server);
    for (int i = 0; i < f->gateway.seen_count; i++)
        free(f->gateway.seen[i]);
    pthread_mutex_destroy(&f->gateway.lock);
    config_done(&f->config);
    free(f);
    return 0;
}

/* ---- what is sent ---- */

static void test_post_is_signed_as_it_is_sent(void **state)
{
    static const char *const names[] = {"Host", "X-Amz-Date", "X-Amz-Security-Token",
                                        "Authorization"};
    static const struct sigv4_credentials credentials = {KEY, SECRET_KEY, NULL};
    struct fixture *f = *state;
    struct sigv4_header headers[ARRAY_LEN(names)];
    struct sigv4_request request = {.method = "POST",
                                    .path = "/prod/@connections/R0oX%2BdfD0kwCH6w%3D",
                                    .headers = headers,
                                    .header_count = ARRAY_LEN(names),
                                    .body = "hello",
                                    .body_len = 5};
    struct outcome outcome;
    struct error err = {0};
    char *value;

    post(f, "R0oX+dfD0kwCH6w=", "hello", &outcome);
    run(f);
    assert_int_equal(outcome.result, SENDER_SENT);
    expect_in(seen(f, 0), "POST /prod/@connections/R0oX%2BdfD0kwCH6w%3D HTTP/1.1\r\n");
    expect_in(seen(f, 0), "\r\n\r\nhello");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        headers[i] = (struct sigv4_header){names[i], header_of(seen(f, 0), names[i])};
    assert_string_equal(headers[2].value, TOKEN);
    expect_in(headers[3].value, "SignedHeaders=host;x-amz-date;x-amz-security-token,");
    if (sigv4_verify(&request, &credentials, "execute-api", clock_unix_ms() / 1000, &err) !=
        SIGV4_GOOD)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        value = (char *)(uintptr_t)headers[i].value;
        free(value);
    }
    assert_int_equal(f->metrics.sender_sent, 1);
}

static void test_without_credentials_nothing_is_signed(void **state)
{
    struct fixture *f = *state;

    set_text(&f->config.aws_secret_access_key, "");
    restart(f);
    expect(f, "one", "200", SENDER_SENT, 1);
    set_text(&f->config.aws_access_key_id, "");
    restart(f);
    expect(f, "two", "200", SENDER_SENT, 1);
    set_text(&f->config.aws_access_key_id, KEY "\n");
    set_text(&f->config.aws_secret_access_key, SECRET_KEY);
    restart(f);
    expect(f, "three", "200", SENDER_SENT, 1);
    for (int i = 0; i < 3; i++) {
        assert_null(strcasestr(seen(f, i), "\r\nAuthorization:"));
        assert_null(strcasestr(seen(f, i), "\r\nX-Amz-"));
    }
    /* Nothing would change when it was done again. */
    expect(f, "four", "old", SENDER_REFUSED, 1);
}

static void test_delete_has_no_body(void **state)
{
    struct fixture *f = *state;
    struct sender_message message = message_to(f, "abc=", "not sent");
    struct outcome outcome;

    message.action = SENDER_DELETE;
    set_rule(f, "abc%3D", "204");
    send_message(f, &message, &outcome);
    run(f);
    assert_int_equal(outcome.result, SENDER_SENT);
    expect_in(seen(f, 0), "DELETE /prod/@connections/abc%3D HTTP/1.1\r\n");
    assert_null(strstr(seen(f, 0), "not sent"));
    assert_null(strcasestr(seen(f, 0), "Content-Length"));
}

static void test_empty_payload_is_a_message(void **state)
{
    struct fixture *f = *state;
    struct sender_message message = message_to(f, "abc", "");
    struct outcome outcome;

    message.payload = NULL;
    send_message(f, &message, &outcome);
    run(f);
    assert_int_equal(outcome.result, SENDER_SENT);
    expect_in(seen(f, 0), "\r\nContent-Length: 0\r\n");
}

static void test_endpoints(void **state)
{
    static const struct {
        const char *endpoint, *url, *region;
    } good[] = {
        {"https://abc.execute-api.eu-west-1.amazonaws.com/prod",
         "https://abc.execute-api.eu-west-1.amazonaws.com/prod/@connections/i%3D", "eu-west-1"},
        {"HTTPS://ws.example.com/", "https://ws.example.com/@connections/i%3D", NULL},
        {"https://ws.example.com:443/a/b//", "https://ws.example.com/a/b/@connections/i%3D", NULL},
        {"http://h:80/$default", "http://h/$default/@connections/i%3D", NULL},
        {"http://h:8080", "http://h:8080/@connections/i%3D", NULL},
        {"http://[::1]:443/dev", "http://[::1]:443/dev/@connections/i%3D", NULL},
        {"https://a.execute-api.eu-west-1.api.aws/x",
         "https://a.execute-api.eu-west-1.api.aws/x/@connections/i%3D", "eu-west-1"},
        {"https://a.execute-api.local", "https://a.execute-api.local/@connections/i%3D", NULL},
    };
    static const char *const bad[] = {
        "",
        "abc",
        "wss://h/dev",
        "http://",
        "http:///dev",
        "http://:80/dev",
        "file://h",
        "http://h?x",
        "http://h/dev?x=1",
        "http://h/a b",
        "http://h/#a",
        "http://h/\r\nX: y",
        "http://user:password@h/dev",
    };
    struct sender_base base;
    struct buf out;

    (void)state;
    sender_base_init(&base);
    buf_init(&out, 256);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct sender_url url;

        sender_base_set(&base, good[i].endpoint);
        url = sender_url_write(&out, &base, "i=");
        assert_string_equal(buf_str(&out), good[i].url);
        assert_memory_equal(good[i].url + url.host - 2, "//", 2);
        assert_int_equal(good[i].url[url.path], '/');
        assert_string_equal(base.region, good[i].region ? good[i].region : "");
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        sender_base_set(&base, bad[i]);
        if (sender_url_write(&out, &base, "id").path)
            fail_msg("%s is an endpoint", bad[i]);
        assert_int_equal(out.len, 0);
    }
    sender_base_set(&base, "http://h/dev");
    assert_int_equal(sender_url_write(&out, &base, "").path, 0);
    assert_int_not_equal(sender_url_write(&out, &base, "id").path, 0);
    buf_done(&out);
    buf_init(&out, 20);
    sender_base_set(&base, "http://example.com/dev");
    assert_int_equal(sender_url_write(&out, &base, "id").path, 0);
    assert_int_equal(out.len, 0);
    sender_base_done(&base);
    buf_done(&out);
}

static void test_what_is_no_endpoint_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sender_message message = message_to(f, "abc", "hello");
    struct outcome outcomes[TWICE];

    message.endpoint = "wss://example.com/dev";
    send_message(f, &message, &outcomes[0]);
    message.endpoint = "";
    send_message(f, &message, &outcomes[1]);
    run(f);
    assert_int_equal(outcomes[0].result, SENDER_REFUSED);
    assert_int_equal(outcomes[1].result, SENDER_REFUSED);
    assert_int_equal(f->metrics.sender_failed, 2);
}

static void test_credentials_that_are_too_long_are_refused(void **state)
{
    struct fixture *f = *state;
    char key[SIGV4_AUTHORIZATION_BYTES + 1];

    memset(key, 'A', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    set_text(&f->config.aws_access_key_id, key);
    restart(f);
    expect(f, "abc", "200", SENDER_REFUSED, 0);
}

/* ---- order ---- */

static void test_messages_to_one_connection_keep_their_order(void **state)
{
    struct fixture *f = *state;
    static struct outcome outcomes[MANY];
    char payload[32];

    set_rule(f, "abc", "200 429 200 500 close 200");
    for (int i = 0; i < MANY; i++) {
        snprintf(payload, sizeof(payload), "\r\n\r\nmessage %d.", i);
        post(f, "abc", payload, &outcomes[i]);
    }
    run(f);
    for (int i = 0, request = 0; i < MANY; i++, request++) {
        assert_int_equal(outcomes[i].result, SENDER_SENT);
        assert_int_equal(outcomes[i].at, i);
        snprintf(payload, sizeof(payload), "\r\n\r\nmessage %d.", i);
        expect_in(seen(f, request), payload);
        while (request + 1 < f->gateway.seen_count && strstr(seen(f, request + 1), payload))
            request++;
    }
    assert_int_equal(f->gateway.seen_count, MANY + 3);
}

static void test_connections_are_sent_to_side_by_side(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[SIDE_BY_SIDE] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct outcome outcomes[SIDE_BY_SIDE];

    for (size_t i = 0; i < SIDE_BY_SIDE; i++) {
        set_rule(f, ids[i], "meet8");
        post(f, ids[i], "hello", &outcomes[i]);
    }
    run(f);
    assert_int_equal(f->gateway.most_waiting, SIDE_BY_SIDE);
}

static void test_no_more_than_sender_parallel(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[SIDE_BY_SIDE] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct outcome outcomes[2 * SIDE_BY_SIDE];

    f->config.sender_parallel = 4;
    for (size_t i = 0; i < SIDE_BY_SIDE; i++) {
        set_rule(f, ids[i], "meet4");
        post(f, ids[i], "hello", &outcomes[TWICE * i]);
        post(f, ids[i], "again", &outcomes[TWICE * i + 1]);
    }
    run(f);
    assert_int_equal(f->gateway.most_waiting, 4);
    assert_int_equal(f->server->accepted, 4); /* one connection for each that is under way */
    assert_int_equal(f->metrics.sender_sent, 2 * SIDE_BY_SIDE);
}

/* Nor a long queue nor a pause takes the turns of others. */
static void test_turns_go_round(void **state)
{
    struct fixture *f = *state;
    static struct outcome many[MANY];
    struct outcome paused, other;

    f->config.sender_parallel = 1;
    set_rule(f, "slow", "503 503 200");
    post(f, "slow", "hello", &paused);
    for (int i = 0; i < MANY; i++)
        post(f, "abc", "hello", &many[i]);
    post(f, "other", "hello", &other);
    run(f);
    assert_int_equal(paused.result, SENDER_SENT);
    assert_int_equal(other.result, SENDER_SENT);
    assert_true(other.at < 3);
}

/* The table of queues grows, and they are found again in it. */
static void test_many_connections(void **state)
{
    struct fixture *f = *state;
    static struct outcome outcomes[2 * MANY];
    char id[16];

    for (int i = 0; i < 2 * MANY; i++) {
        snprintf(id, sizeof(id), "c%d", i % MANY);
        post(f, id, i < MANY ? "first" : "second", &outcomes[i]);
    }
    run(f);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(outcomes[i].result, SENDER_SENT);
        assert_true(outcomes[i].at < outcomes[MANY + i].at);
    }
    assert_int_equal(f->gateway.seen_count, 2 * MANY);
    assert_true(f->server->accepted <= 64);
}

struct chain {
    struct outcome outcome;
    int left;
};

static void on_link(void *ctx, enum sender_result result)
{
    struct chain *chain = ctx;
    struct fixture *f = chain->outcome.f;
    struct sender_message message = message_to(f, "abc", "hello");

    assert_int_equal(result, SENDER_SENT);
    if (chain->left-- > 0)
        sender_send(f->sender, &message, on_link, chain);
    else
        on_done(&chain->outcome, result);
}

static void test_done_may_send(void **state)
{
    struct fixture *f = *state;
    struct chain chain = {.outcome = {.f = f}, .left = 3};
    struct sender_message message = message_to(f, "abc", "hello");

    f->open++;
    sender_send(f->sender, &message, on_link, &chain);
    run(f);
    assert_int_equal(f->gateway.seen_count, 4);
}

/* ---- answers ---- */

static void test_nothing_more_is_sent_to_what_is_gone(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[3], other;

    set_rule(f, "abc", "410");
    for (int i = 0; i < 3; i++)
        post(f, "abc", "hello", &outcomes[i]);
    post(f, "other", "hello", &other);
    run(f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(outcomes[i].result, SENDER_GONE);
    assert_int_equal(other.result, SENDER_SENT);
    assert_int_equal(f->gateway.seen_count, 2);
    assert_int_equal(f->metrics.sender_gone, 3);
    expect(f, "def", "unknown", SENDER_GONE, 1);
}

static void test_what_may_get_better_is_tried_again(void **state)
{
    struct fixture *f = *state;

    expect(f, "a", "429 429 200", SENDER_SENT, 3);
    assert_int_equal(f->metrics.sender_throttled, 2);
    expect(f, "b", "500 503 200", SENDER_SENT, 3);
    expect(f, "c", "close close 200", SENDER_SENT, 3);
    expect(f, "d", "429 410", SENDER_GONE, 2);
    f->config.sender_timeout_ms = 2 * SHORT_MS;
    expect(f, "e", "hang 200", SENDER_SENT, 2);
    expect(f, "f", "half 200", SENDER_SENT, 2);
}

/* Its gateway opens it a moment later; what stands behind the first message keeps its place. */
static void test_gone_is_no_end_for_what_is_new(void **state)
{
    struct fixture *f = *state;
    struct sender_message message = message_to(f, "abc", "hello");
    struct outcome outcomes[2];

    set_rule(f, "abc", "410 410 200");
    message.is_new = true;
    send_message(f, &message, &outcomes[0]);
    post(f, "abc", "and more", &outcomes[1]);
    run(f);
    assert_int_equal(outcomes[0].result, SENDER_SENT);
    assert_int_equal(outcomes[1].result, SENDER_SENT);
    assert_int_equal(f->gateway.seen_count, 4);
    assert_int_equal(f->metrics.sender_gone, 0);
}

static void test_what_is_new_may_be_gone_all_the_same(void **state)
{
    struct fixture *f = *state;
    struct sender_message message = message_to(f, "abc", "hello");
    struct outcome outcome;
    int64_t began_ms = clock_mono_ms();

    set_rule(f, "abc", "410");
    message.is_new = true;
    message.deadline_ms += GIVE_UP_MS;
    send_message(f, &message, &outcome);
    run(f);
    assert_int_equal(outcome.result, SENDER_GONE);
    assert_true(f->gateway.seen_count > 2);
    assert_true(clock_mono_ms() - began_ms >= 3000);
}

static void test_what_will_not_get_better_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[TWICE];

    expect(f, "a", "403", SENDER_REFUSED, 1);
    expect(f, "b", "413", SENDER_REFUSED, 1);
    expect(f, "c", "400", SENDER_REFUSED, 1);
    expect(f, "d", "302", SENDER_REFUSED, 1);
    expect(f, "e", "large", SENDER_REFUSED, 1);
    assert_int_equal(f->metrics.sender_failed, 5);
    /* What is behind it goes on. */
    set_rule(f, "f", "403 200");
    post(f, "f", "hello", &outcomes[0]);
    post(f, "f", "hello", &outcomes[1]);
    run(f);
    assert_int_equal(outcomes[0].result, SENDER_REFUSED);
    assert_int_equal(outcomes[1].result, SENDER_SENT);
}

static int64_t date_of(const char *request)
{
    char *date = header_of(request, "X-Amz-Date");
    struct tm utc = {0};

    assert_non_null(strptime(date, "%Y%m%dT%H%M%SZ", &utc));
    free(date);
    return (int64_t)timegm(&utc);
}

static void test_other_clock_is_believed_once(void **state)
{
    struct fixture *f = *state;
    int64_t now_s = clock_unix_ms() / 1000;

    expect(f, "a", "date 200", SENDER_SENT, 2);
    assert_true(llabs(date_of(seen(f, 0)) - now_s) < 60);
    assert_true(llabs(date_of(seen(f, 1)) - now_s - SKEW_S) < 60);
    /* Later ones begin with that. */
    expect(f, "b", "200", SENDER_SENT, 1);
    assert_true(llabs(date_of(seen(f, 2)) - now_s - SKEW_S) < 60);
    /* One without a date has the clock read again, and nothing else. */
    expect(f, "c", "old 200", SENDER_SENT, 2);
    assert_true(llabs(date_of(seen(f, 4)) - now_s) < 60);
    expect(f, "d", "old", SENDER_REFUSED, 2);
    expect(f, "e", "date old 200", SENDER_REFUSED, 2);
}

/* ---- time ---- */

static void test_deadline_ends_the_tries(void **state)
{
    static const char *const words[] = {"429", "500", "close", "hang"};
    struct fixture *f = *state;
    struct outcome outcomes[ARRAY_LEN(words)];
    int64_t began_ms = clock_mono_ms();

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct sender_message message = message_to(f, words[i], "hello");

        message.deadline_ms = began_ms + SHORT_MS;
        set_rule(f, words[i], words[i]);
        send_message(f, &message, &outcomes[i]);
    }
    run(f);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        assert_int_equal(outcomes[i].result, SENDER_FAILED);
    assert_true(clock_mono_ms() - began_ms < LATER_MS / 2);
    assert_int_equal(f->metrics.sender_failed, ARRAY_LEN(words));
}

/* What waits behind another one, or for its turn, does not wait longer than it may. */
static void test_deadline_counts_while_waiting(void **state)
{
    struct fixture *f = *state;
    struct outcome first, behind, last, turn, over;
    struct sender_message message = message_to(f, "abc", "behind");

    f->config.sender_parallel = 1;
    f->config.sender_timeout_ms = 2 * SHORT_MS;
    set_rule(f, "abc", "hang 200");
    post(f, "abc", "first", &first);
    message.deadline_ms = clock_mono_ms() + SHORT_MS;
    send_message(f, &message, &behind);
    post(f, "abc", "last", &last);
    message.connection_id = "other";
    send_message(f, &message, &turn);
    message.connection_id = "over";
    message.deadline_ms = clock_mono_ms() - 1;
    send_message(f, &message, &over);
    run(f);
    assert_int_equal(behind.result, SENDER_FAILED);
    assert_int_equal(turn.result, SENDER_FAILED);
    assert_int_equal(over.result, SENDER_FAILED);
    assert_int_equal(first.result, SENDER_SENT);
    assert_int_equal(last.result, SENDER_SENT);
    assert_true(behind.at < first.at && turn.at < first.at && over.at < first.at);
    assert_int_equal(f->gateway.seen_count, 3);
}

/* Each at its own time, in whatever order they were sent, and whoever was answered before. */
static void test_deadlines_come_in_their_order(void **state)
{
    enum { WAITING = 60, STEP_MS = 5 };
    struct fixture *f = *state;
    struct outcome first, late[WAITING], gone[WAITING];
    struct sender_message message = message_to(f, NULL, "hello");
    int64_t began_ms = clock_mono_ms();

    f->config.sender_parallel = 2;
    set_rule(f, "hang", "hang");
    set_rule(f, "gone", "410");
    post(f, "hang", "first", &first);
    f->open--; /* it is not waited for */
    for (int i = 0; i < WAITING; i++) {
        message.connection_id = "hang";
        message.deadline_ms = began_ms + SHORT_MS + i * 37 % WAITING * STEP_MS;
        send_message(f, &message, &late[i]);
        message.connection_id = "gone";
        message.deadline_ms = began_ms + SHORT_MS + i * 53 % WAITING * STEP_MS;
        send_message(f, &message, &gone[i]);
    }
    run(f);
    for (int i = 0; i < WAITING; i++) {
        int place = i * 37 % WAITING;

        assert_int_equal(gone[i].result, SENDER_GONE);
        assert_int_equal(late[i].result, SENDER_FAILED);
        assert_int_equal(late[i].at, WAITING + place);
        assert_true(late[i].at_ms >= began_ms + SHORT_MS + (int64_t)place * STEP_MS);
    }
    assert_int_equal(first.count, 0);
    f->open++;
}

/* The pause that the first one began stays one for those behind it. */
static void test_pause_outlives_the_message(void **state)
{
    struct fixture *f = *state;
    struct outcome first, second;
    struct sender_message message = message_to(f, "abc", "first");

    set_rule(f, "abc", "429 200");
    message.deadline_ms = clock_mono_ms() + LESS_THAN_A_PAUSE_MS;
    send_message(f, &message, &first);
    post(f, "abc", "second", &second);
    run(f);
    assert_int_equal(first.result, SENDER_FAILED);
    assert_int_equal(second.result, SENDER_SENT);
    assert_true(second.at_ms - first.at_ms >= LESS_THAN_A_PAUSE_MS);
}

static void test_who_cannot_be_reached_holds_nobody_up(void **state)
{
    struct fixture *f = *state;
    struct outcome far, near;
    struct sender_message message = message_to(f, "abc", "hello");
    char endpoint[ENDPOINT_BYTES];
    uint16_t port;
    int fd = server_listen(&port);

    close(fd);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u/dev", port);
    f->config.sender_parallel = 1;
    message.endpoint = endpoint;
    message.deadline_ms = clock_mono_ms() + TRIES_MS;
    send_message(f, &message, &far);
    post(f, "abc", "hello", &near);
    run(f);
    assert_int_equal(far.result, SENDER_FAILED);
    assert_int_equal(near.result, SENDER_SENT);
    assert_true(near.at < far.at);
}

/* ---- the end ---- */

static void look(void *ctx)
{
    struct fixture *f = ctx;

    if (atomic_load(&f->gateway.seen_count) == TWICE)
        loop_stop(f->loop);
}

static void test_end_answers_what_is_open(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[6];
    struct timer *timer;

    set_rule(f, "open", "hang");
    set_rule(f, "paused", "503");
    post(f, "open", "hello", &outcomes[0]);
    post(f, "open", "behind", &outcomes[1]);
    post(f, "paused", "hello", &outcomes[2]);
    post(f, "paused", "behind", &outcomes[3]);
    timer = loop_timer(f->loop, 1, 1, look, f);
    loop_run(f->loop);
    loop_timer_stop(timer);
    post(f, "new", "hello", &outcomes[4]);
    post(f, "new", "behind", &outcomes[5]);
    sender_free(f->sender);
    f->sender = NULL;
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        assert_int_equal(outcomes[i].count, 1);
        assert_int_equal(outcomes[i].result, SENDER_FAILED);
    }
    assert_int_equal(f->open, 0);
}

/* ---- the log ---- */

/* Standard error of what run() does, in a buffer of its own. */
static char *log_of(struct fixture *f)
{
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    static char text[16384];
    size_t len;

    assert_non_null(file);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    run(f);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    rewind(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static void test_trouble_is_logged_once(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[SIDE_BY_SIDE];
    const char *text;

    set_rule(f, "abc", "403");
    for (size_t i = 0; i < SIDE_BY_SIDE; i++)
        post(f, "abc", "private", &outcomes[i]);
    text = log_of(f);
    expect_in(text, "event=sender.forbidden");
    expect_in(text, "type=AccessDeniedException");
    expect_in(text, "execute-api:ManageConnections");
    expect_in(text, f->endpoint);
    assert_null(strstr(strstr(text, "event=") + 1, "event="));
    assert_null(strstr(text, "private"));
    assert_null(strstr(text, "secret words"));
    assert_null(strstr(text, TOKEN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_post_is_signed_as_it_is_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_credentials_nothing_is_signed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_delete_has_no_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty_payload_is_a_message, set_up, tear_down),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test_setup_teardown(test_what_is_no_endpoint_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_credentials_that_are_too_long_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_messages_to_one_connection_keep_their_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_connections_are_sent_to_side_by_side, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_no_more_than_sender_parallel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_turns_go_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_done_may_send, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_more_is_sent_to_what_is_gone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_may_get_better_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gone_is_no_end_for_what_is_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_new_may_be_gone_all_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_will_not_get_better_is_given_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_other_clock_is_believed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deadline_ends_the_tries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deadline_counts_while_waiting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deadlines_come_in_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pause_outlives_the_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_cannot_be_reached_holds_nobody_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_end_answers_what_is_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_trouble_is_logged_once, set_up, tear_down),
    };
    int failed;

    if (http_client_setup(NULL) != OK)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_done();
    return failed;
}

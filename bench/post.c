/* SPDX-License-Identifier: Apache-2.0 */
/*
 * post.c - how many messages a second can be posted to a management API.
 *
 *   post curl|sender --port P [--count 20000] [--parallel 64] [--payload-bytes 100]
 *
 * POSTs to http://127.0.0.1:P/dev/@connections/<id> for 1,000 made-up ids in turn.  curl is the
 * physical limit: a bare loop of libcurl's that keeps its handles and signs nothing.  sender is the
 * product's own, which signs each request.  The result is a line of JSON; an answer that is not 200
 * ends the program with 1.
 */
#include "config.h"
#include "http_client.h"
#include "loop.h"
#include "metrics.h"
#include "sender.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <curl/curl.h>

enum {
    IDS = 1000,
    ID_BYTES = 21,
    URL_BYTES = 128,
    ENDPOINT_BYTES = 48,
    TIMEOUT_MS = 10000,
    POLL_MS = 1000,
    HTTP_OK = 200
};

struct options {
    int port;
    long count;
    long parallel;
    long payload_bytes;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "post: %s\n", what);
    exit(1);
}

/* As a gateway makes them. */
static void make_id(uint64_t number, char out[ID_BYTES])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t random = number + 1;

    for (size_t i = 0; i < ID_BYTES - 3; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        out[i] = alphabet[random >> 58];
    }
    memcpy(out + ID_BYTES - 3, "==", 3);
}

static char *make_payload(long len)
{
    char *payload = mem_alloc((size_t)len + 1);

    memset(payload, 'x', (size_t)len);
    return payload;
}

/* ---- curl ---- */

struct bare {
    const struct options *options;
    CURLM *multi;
    struct curl_slist *headers;
    char *payload;
    char (*urls)[URL_BYTES];
    long started;
    long answered;
};

/* The type is libcurl's. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static size_t drop_body(char *data, size_t size, size_t count, void *ctx)
{
    (void)data;
    (void)ctx;
    return size * count;
}

/* The headers of the sender; a signature like its own. */
static struct curl_slist *make_headers(void)
{
    static const char authorization[] =
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/execute-api/"
        "aws4_request, SignedHeaders=host;x-amz-date, "
        "Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    static const char *const lines[] = {
        "Expect:", "Accept:", "Content-Type:", "X-Amz-Date: 20260101T000000Z", authorization};
    struct curl_slist *headers = NULL;

    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        headers = curl_slist_append(headers, lines[i]);
    return headers;
}

static void make_urls(struct bare *bare)
{
    bare->urls = mem_alloc(IDS * sizeof(*bare->urls));
    for (size_t i = 0; i < IDS; i++) {
        char id[ID_BYTES];

        make_id(i, id);
        snprintf(bare->urls[i], URL_BYTES, "http://127.0.0.1:%d/dev/@connections/%.18s%%3D%%3D",
                 bare->options->port, id);
    }
}

static CURL *create_handle(const struct bare *bare)
{
    CURL *curl = curl_easy_init();

    if (!curl)
        die("libcurl did not start");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, bare->headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, bare->payload);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, bare->options->payload_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    return curl;
}

static void start_request(struct bare *bare, CURL *curl)
{
    curl_easy_setopt(curl, CURLOPT_URL, bare->urls[bare->started++ % IDS]);
    if (curl_multi_add_handle(bare->multi, curl) != CURLM_OK)
        die("curl_multi_add_handle");
}

static void on_message(struct bare *bare, const CURLMsg *message)
{
    CURL *curl = message->easy_handle;
    CURLcode rc = message->data.result;
    long status = 0;

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc != CURLE_OK || status != HTTP_OK)
        die(rc != CURLE_OK ? curl_easy_strerror(rc) : "an answer that is not 200");
    curl_multi_remove_handle(bare->multi, curl);
    bare->answered++;
    if (bare->started < bare->options->count)
        start_request(bare, curl);
}

static void run_bare_loop(struct bare *bare)
{
    const CURLMsg *message;
    int running, left;

    while (bare->answered < bare->options->count) {
        if (curl_multi_perform(bare->multi, &running) != CURLM_OK)
            die("curl_multi_perform");
        while ((message = curl_multi_info_read(bare->multi, &left)))
            on_message(bare, message);
        if (bare->answered < bare->options->count)
            curl_multi_poll(bare->multi, NULL, 0, POLL_MS, NULL);
    }
}

static void post_with_curl(const struct options *options)
{
    struct bare bare = {.options = options, .multi = curl_multi_init()};
    CURL **handles = mem_alloc((size_t)options->parallel * sizeof(*handles));

    bare.headers = make_headers();
    bare.payload = make_payload(options->payload_bytes);
    make_urls(&bare);
    for (long i = 0; i < options->parallel; i++) {
        handles[i] = create_handle(&bare);
        if (bare.started < options->count)
            start_request(&bare, handles[i]);
    }
    run_bare_loop(&bare);
    for (long i = 0; i < options->parallel; i++)
        curl_easy_cleanup(handles[i]);
    curl_multi_cleanup(bare.multi);
    curl_slist_free_all(bare.headers);
    free(bare.urls);
    free(bare.payload);
    free(handles);
}

/* ---- sender ---- */

struct product {
    const struct options *options;
    struct loop *loop;
    struct sender *sender;
    struct sender_message message;
    char (*ids)[ID_BYTES];
    long started;
    long answered;
};

static void on_sent(void *ctx, enum sender_result result);

static void send_next(struct product *product)
{
    product->message.connection_id = product->ids[product->started++ % IDS];
    product->message.deadline_ms = clock_mono_ms() + TIMEOUT_MS;
    sender_send(product->sender, &product->message, on_sent, product);
}

static void on_sent(void *ctx, enum sender_result result)
{
    struct product *product = ctx;

    if (result != SENDER_SENT)
        die("an answer that is not 200");
    product->answered++;
    if (product->started < product->options->count)
        send_next(product);
    else if (product->answered == product->options->count)
        loop_stop(product->loop);
}

static void load_config(struct config *config, const struct options *options)
{
    struct error err;
    int argc = 0;
    char parallel[16];

    snprintf(parallel, sizeof(parallel), "%ld", options->parallel);
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 1);
    unsetenv("AWS_SESSION_TOKEN");
    setenv("SWITCHBOARD_SENDER_PARALLEL", parallel, 1);
    if (config_load(config, &argc, NULL, &err) != OK)
        die(err.text);
}

static void run_sender(struct product *product, const struct config *config)
{
    struct metrics metrics = {0};
    struct http_pool *pool = http_pool_create(product->loop);
    const struct sender_env env = {product->loop, config, pool, &metrics};

    product->sender = sender_create(&env);
    for (long i = 0; i < product->options->parallel && i < product->options->count; i++)
        send_next(product);
    loop_run(product->loop);
    sender_free(product->sender);
    http_pool_free(pool);
}

static void post_with_sender(const struct options *options)
{
    struct product product = {.options = options, .loop = loop_create()};
    struct config config;
    char endpoint[ENDPOINT_BYTES];
    char *payload = make_payload(options->payload_bytes);

    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d/dev", options->port);
    product.message = (struct sender_message){.action = SENDER_POST,
                                              .endpoint = endpoint,
                                              .payload = payload,
                                              .payload_len = (size_t)options->payload_bytes};
    product.ids = mem_alloc(IDS * sizeof(*product.ids));
    for (size_t i = 0; i < IDS; i++)
        make_id(i, product.ids[i]);
    load_config(&config, options);
    run_sender(&product, &config);
    loop_free(product.loop);
    config_done(&config);
    free(product.ids);
    free(payload);
}

/* ---- the program ---- */

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void print_result(long count, int64_t took_us)
{
    double took_s = (double)took_us / 1e6;
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("{\"posts\": %ld, \"seconds\": %.3f, \"per_second\": %.0f, \"user_s\": %.3f,"
           " \"sys_s\": %.3f}\n",
           count, took_s, (double)count / took_s, seconds(usage.ru_utime), seconds(usage.ru_stime));
}

static bool read_options(int argc, char **argv, struct options *out)
{
    for (int i = 2; i + 1 < argc; i += 2) {
        long value = strtol(argv[i + 1], NULL, 10);

        if (strcmp(argv[i], "--port") == 0)
            out->port = (int)value;
        else if (strcmp(argv[i], "--count") == 0)
            out->count = value;
        else if (strcmp(argv[i], "--parallel") == 0)
            out->parallel = value;
        else if (strcmp(argv[i], "--payload-bytes") == 0)
            out->payload_bytes = value;
        else
            return false;
    }
    return out->port > 0 && out->count > 0 && out->parallel > 0 && out->parallel <= IDS &&
           out->payload_bytes >= 0;
}

int main(int argc, char **argv)
{
    struct options options = {.count = 20000, .parallel = 64, .payload_bytes = 100};
    bool is_curl = argc > 1 && strcmp(argv[1], "curl") == 0;
    bool is_sender = argc > 1 && strcmp(argv[1], "sender") == 0;
    struct error err;
    int64_t began_us;

    if ((!is_curl && !is_sender) || !read_options(argc, argv, &options)) {
        fprintf(stderr, "post curl|sender --port P [--count N] [--parallel N]"
                        " [--payload-bytes N]\n");
        return 2;
    }
    if (is_curl ? curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK : http_client_setup(&err) != OK)
        die("libcurl did not start");
    began_us = clock_mono_us();
    if (is_curl)
        post_with_curl(&options);
    else
        post_with_sender(&options);
    print_result(options.count, clock_mono_us() - began_us);
    http_client_done();
    return 0;
}

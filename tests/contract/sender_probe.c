/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sender_probe.c - posts what standard input says with the sender, for tests that look at what
 * comes out:
 *
 *   sender_probe [settings] ENDPOINT
 *   POST <connection id> <hexadecimal payload>
 *   DELETE <connection id>
 *
 * and writes "<connection id> <sent|gone|refused|failed>" for each, in the order of the answers.
 */
#include "config.h"
#include "http_client.h"
#include "loop.h"
#include "metrics.h"
#include "sender.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES = 256, LINE_BYTES = 300000, DEADLINE_MS = 20000 };

struct probe {
    struct loop *loop;
    size_t open;
};

struct request {
    struct probe *probe;
    char id[WORD_BYTES];
};

static void on_done(void *ctx, enum sender_result result)
{
    static const char *const names[] = {"sent", "gone", "refused", "failed"};
    struct request *request = ctx;
    struct probe *probe = request->probe;

    printf("%s %s\n", request->id, names[result]);
    free(request);
    if (--probe->open == 0)
        loop_stop(probe->loop);
}

static size_t read_hex(const char *text, char *out)
{
    size_t len = 0;

    for (; isxdigit((unsigned char)text[0]) && isxdigit((unsigned char)text[1]); text += 2)
        out[len++] = (char)strtol((const char[]){text[0], text[1], '\0'}, NULL, 16);
    return len;
}

static void send_line(struct probe *probe, struct sender *sender, const char *endpoint,
                      const char *line)
{
    struct request *request = mem_alloc(sizeof(*request));
    char *payload = mem_alloc(LINE_BYTES);
    char method[8];
    int end = 0;
    struct sender_message message = {.endpoint = endpoint,
                                     .connection_id = request->id,
                                     .payload = payload,
                                     .deadline_ms = clock_mono_ms() + DEADLINE_MS};

    if (sscanf(line, "%7s %255s %n", method, request->id, &end) < 2)
        abort();
    message.action = strcmp(method, "DELETE") == 0 ? SENDER_DELETE : SENDER_POST;
    message.payload_len = read_hex(line + end, payload);
    request->probe = probe;
    probe->open++;
    sender_send(sender, &message, on_done, request);
    free(payload);
}

static void run(struct probe *probe, const struct config *config, const char *endpoint)
{
    struct metrics metrics = {0};
    struct http_pool *pool = http_pool_create(probe->loop);
    const struct sender_env env = {probe->loop, config, pool, &metrics};
    struct sender *sender = sender_create(&env);
    char *line = mem_alloc(LINE_BYTES);

    while (fgets(line, LINE_BYTES, stdin))
        send_line(probe, sender, endpoint, line);
    if (probe->open)
        loop_run(probe->loop);
    free(line);
    sender_free(sender);
    http_pool_free(pool);
}

int main(int argc, char **argv)
{
    struct config config;
    struct error err;
    struct probe probe = {0};
    int count = argc - 1;

    if (config_load(&config, &count, argv + 1, &err) || count != 1 || http_client_setup(&err)) {
        fprintf(stderr, "sender_probe [settings] ENDPOINT\n");
        return 2;
    }
    probe.loop = loop_create();
    run(&probe, &config, argv[1]);
    loop_free(probe.loop);
    http_client_done();
    config_done(&config);
    return 0;
}

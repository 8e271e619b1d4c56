/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - servers that do as little as one can: the physical limit on this machine.
 *
 *   reference echo   --port P   WebSocket: what comes goes back
 *   reference fanout --port P   WebSocket: what comes on a path /pub... goes to all on other paths
 *   reference sink   --port P   HTTP: 200 to everything; prints "requests N" at the end
 *   reference invoke --port P   HTTP: a Lambda function that answers with the message it is given
 *
 * Prints "port N" when it listens (P 0: any) and runs until SIGTERM.
 */
#include "reference.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct mode {
    const char *name;
    const struct server_handler *handler;
    bool has_requests;
} modes[] = {
    {"echo", &reference_echo, false},
    {"fanout", &reference_fanout, false},
    {"sink", &reference_sink, true},
    {"invoke", &reference_invoke, true},
};

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const struct mode *mode = argc > 1 ? find_mode(argv[1]) : NULL;
    struct server *server;

    if (!mode) {
        fprintf(stderr, "reference echo|fanout|sink|invoke --port P\n");
        return 2;
    }
    server = server_create(server_port_argument(argc, argv), mode->handler);
    server_run(server);
    if (mode->has_requests)
        printf("requests %" PRIu64 "\n", reference_request_count());
    server_free(server);
    return 0;
}

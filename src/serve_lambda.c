/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_lambda.c - the commands serve and backend of bootstrap, the program for AWS Lambda: there
 * are none.  With these in front, the linker leaves the gateway, the HTTP server and their
 * libraries out.
 */
#include "backend_serve.h"
#include "serve.h"

#include <stdio.h>
#include <stdlib.h>

static int refuse(void)
{
    fputs("switchboard: this build is the one for AWS Lambda: it has no gateway and no HTTP port\n",
          stderr);
    return EXIT_FAILURE;
}

int cmd_serve(const struct config *config)
{
    (void)config;
    return refuse();
}

int cmd_backend(const struct config *config)
{
    (void)config;
    return refuse();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_lambda.c - the command serve of bootstrap, the program for AWS Lambda: there is none.  With
 * this one in front, the linker leaves the gateway and its libraries out.
 */
#include "serve.h"

#include <stdio.h>
#include <stdlib.h>

int cmd_serve(const struct config *config)
{
    (void)config;
    fputs("switchboard: this build is the one for AWS Lambda: it has no gateway\n", stderr);
    return EXIT_FAILURE;
}

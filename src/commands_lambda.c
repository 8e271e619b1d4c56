/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands_lambda.c - the program as AWS Lambda starts it: without a command.
 */
#include "commands_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "http_client.h"
#include "lambda.h"
#include "log.h"

/* Lambda's own settings for logs count where nobody has given ours. */
static void set_up_lambda_log(const struct config *config)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"TRACE", LOG_DEBUG}, {"DEBUG", LOG_DEBUG}, {"INFO", LOG_INFO},
                  {"WARN", LOG_WARN},   {"ERROR", LOG_ERROR}, {"FATAL", LOG_ERROR}};
    const char *format = getenv("AWS_LAMBDA_LOG_FORMAT");
    const char *level = getenv("AWS_LAMBDA_LOG_LEVEL");
    enum log_level chosen = LOG_INFO;

    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcasecmp(levels[i].name, config->log_level) == 0)
            chosen = levels[i].level;
    for (size_t i = 0; level && !getenv("SWITCHBOARD_LOG_LEVEL") && i < ARRAY_LEN(levels); i++)
        if (strcmp(levels[i].name, level) == 0)
            chosen = levels[i].level;
    if (format && strcmp(format, "Text") == 0 && strcmp(config->log_format, "json") != 0)
        log_setup(chosen, LOG_LOGFMT);
    else
        log_setup(chosen, LOG_LAMBDA);
}

/* The same program, called bootstrap and without arguments. */
int commands_in_lambda(void)
{
    struct config config = {0};
    struct error err = {0};
    int argc = 0;
    char *argv[] = {NULL};
    int code;

    if (config_load(&config, &argc, argv, &err) != OK) {
        fprintf(stderr, "switchboard: %s\n", err.text);
        if (http_client_setup(NULL) == OK)
            lambda_fail_init("Runtime.BadConfiguration", err.text);
        return EXIT_FAILED;
    }
    set_up_lambda_log(&config);
    config.database_wait_ms = 0; /* an invocation has waited before it is handled */
    code = lambda_run(&config);
    config_done(&config);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lambda.h - the program as a custom runtime of AWS Lambda: all routes, the authorizer, the
 * schedule and direct invocations.
 *
 * One event at a time.  GET /next has no time-out and is never tried again; what goes wrong with
 * the Runtime API itself ends the process, because a new one starts in step.  Between the answer
 * and the next GET /next there is still time to work: frames of a connection that has just been
 * opened leave then.
 */
#pragma once

#include "base.h"

struct config;

/* True when the Runtime API is there (AWS_LAMBDA_RUNTIME_API). */
bool lambda_is_here(void);
/* Tells Lambda that the settings are wrong. */
void lambda_fail_init(const char *type, const char *text);
/* Runs until SIGTERM, or something is wrong; returns the exit code. */
int lambda_run(const struct config *config);

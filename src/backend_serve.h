/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend_serve.h - the command `switchboard backend`: behind a gateway that holds the sockets and
 * calls over HTTP.
 */
#pragma once

struct config;

/* Runs until SIGINT or SIGTERM; returns the exit code. */
int cmd_backend(const struct config *config);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - the command `switchboard serve`: wires the modules together, starts and stops them.
 */
#pragma once

struct config;

/* Runs until SIGINT or SIGTERM; returns the exit code. */
int cmd_serve(const struct config *config);

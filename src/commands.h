/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - the commands of the program, from one table.
 */
#pragma once

#include "base.h"

/* Exit codes. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* argv without the program's name; is changed.  Returns the exit code. */
int commands_run(int argc, char **argv);

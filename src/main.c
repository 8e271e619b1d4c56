/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"

int main(int argc, char **argv)
{
    return argc > 0 ? commands_run(argc - 1, argv + 1) : EXIT_USAGE;
}

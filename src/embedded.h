/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded.h - the SQL files inside the binary; cmake/embed.cmake writes the table at build time.
 *
 * In the order in which they are applied: migrations by name, then sql/functions, sql/profiles and
 * the grants.  Static for the life of the process.
 */
#pragma once

#include <stddef.h>

enum embedded_kind {
    EMBEDDED_MIGRATION = 0, /* runs once */
    EMBEDDED_REPEATABLE = 1 /* runs again when its checksum changes */
};

struct embedded_file {
    const char *name;   /* "0001_connections.sql" or "sql/functions/020_publish.sql" */
    const char *text;   /* NUL-terminated */
    const char *sha256; /* 64 lower-case hex digits, of the file's bytes */
    int kind;           /* enum embedded_kind */
};

extern const struct embedded_file embedded_files[];
extern const size_t embedded_file_count;

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints what sql/schema.sql should be: the schema of an empty database after migrating.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_database dumped
migrate dumped >/dev/null
echo "-- SPDX-License-Identifier: Apache-2.0"
echo "-- Made by ./dev dump: the tables, types and views after all migrations; for reading and for"
echo "-- reviews.  Functions are in sql/functions and sql/profiles."
dump_tables dumped

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the pgTAP tests with pg_prove.
#
#   tests/sql/run.sh [file ...]
#
# Against the migrated database that DATABASE_URL or PG* name, when DATABASE_URL, PGHOST or PGDATABASE
# is set (its user must be allowed to create the extension pgtap and to take on the roles); otherwise
# against a private, throw-away cluster that migrations/apply.sh fills.  Every test rolls back.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
chmod 0755 "$scratch"

finish() {
    if [ -d "$scratch/cluster" ]; then
        cluster_remove "$scratch/cluster"
    fi
    rm -rf "$scratch"
}
trap finish EXIT

url=${DATABASE_URL:-}
if [ -z "$url${PGHOST:-}${PGDATABASE:-}" ]; then
    # shellcheck source=../../scripts/cluster.sh
    . "$root/scripts/cluster.sh"
    cluster_start "$scratch/cluster" throw-away
    "$root/migrations/apply.sh" "$(cluster_url "$scratch/cluster" switchboard switchboard)" >"$scratch/log"
    url=$(cluster_url "$scratch/cluster" postgres switchboard)
fi

# pg_prove takes no URL (it splits its options at "="), but a psql of our own.
psql=psql
if [ -n "$url" ]; then
    psql=$scratch/psql
    printf '#!/bin/bash\nexec psql %q "$@"\n' "$url" >"$psql"
    chmod +x "$psql"
fi

PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning" "$psql" --no-psqlrc --quiet \
    --set=ON_ERROR_STOP=1 --command='create extension if not exists pgtap schema public'
if [ "$#" -eq 0 ]; then
    set -- "$root"/tests/sql/*_test.sql
fi
pg_prove --psql-bin "$psql" "$@"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Migrators that start together on an empty database, of both kinds: every one succeeds, every file is
# applied once, and the result is the usual one.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_database alone
migrate alone >/dev/null
new_database together

pids=()
for i in 1 2 3 4; do
    way=migrate
    [ "$i" -ne 4 ] || way=apply_files
    "$way" together >"$scratch/log.$i" 2>&1 &
    pids+=($!)
done
for i in 1 2 3 4; do
    wait "${pids[i - 1]}" || {
        cat "$scratch/log.$i"
        fail "migrator $i failed"
    }
done
expected=$(($(migration_count) + $(repeatable_count)))
recorded=$(query together 'select count(*) from switchboard.schema_migrations')
[ "$recorded" -eq "$expected" ] || fail "$expected files, but $recorded rows in schema_migrations"
same_dump alone together "migrating at once gives another schema"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A migration that has landed must not change: both ways of migrating refuse, name it, and leave the
# database alone.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

first=$(basename "$(find "$repository/migrations" -maxdepth 1 -name '*.sql' | sort | head -n 1)")
new_database changed
migrate changed >/dev/null
query changed "update switchboard.schema_migrations set checksum = repeat('0', 64)
                where name = '$first'"
# Something that a run which did not refuse would put back.
query changed "delete from switchboard.schema_migrations where version is null"

for way in migrate apply_files; do
    if "$way" changed >"$scratch/log" 2>&1; then
        cat "$scratch/log"
        fail "$way accepted a changed $first"
    fi
    grep -qF "$first" "$scratch/log" || {
        cat "$scratch/log"
        fail "$way does not name $first"
    }
    left=$(query changed "select count(*) from switchboard.schema_migrations where version is null")
    [ "$left" -eq 0 ] || fail "$way refused and applied files all the same"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# migrations/apply.sh (psql and nothing else) gives the same schema and the same bookkeeping as the
# program, and the two take over from each other; a migration also runs alone with psql -1 -f.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_database program
migrate program >/dev/null
new_database psql
apply_files psql >"$scratch/psql.log" || {
    cat "$scratch/psql.log"
    fail "apply.sh failed"
}
same_dump program psql "apply.sh gives another schema than the program"

books="select name, version, checksum from switchboard.schema_migrations order by name"
query program "$books" >"$scratch/program.books"
query psql "$books" | diff -u "$scratch/program.books" - || fail "the bookkeeping differs"

# Each one finds nothing to do after the other.
stamps="select max(applied_at) from switchboard.schema_migrations"
before=$(query psql "$stamps")
migrate psql >/dev/null
[ "$(query psql "$stamps")" = "$before" ] || fail "the program applied files again"
before=$(query program "$stamps")
apply_files program >/dev/null
[ "$(query program "$stamps")" = "$before" ] || fail "apply.sh applied files again"

new_database bare
for file in "$repository"/migrations/*.sql; do
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --single-transaction --file="$file" \
        "$(database_url bare)" >/dev/null || fail "$file does not run alone"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The program builds the whole schema in an empty database and records every file with its checksum;
# doing it again changes nothing.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_database zero
migrate zero >"$scratch/first"

expected=$(($(migration_count) + $(repeatable_count)))
recorded=$(query zero 'select count(*) from switchboard.schema_migrations')
[ "$recorded" -eq "$expected" ] || fail "$expected files, but $recorded rows in schema_migrations"

for file in "$repository"/migrations/*.sql; do
    name=${file##*/}
    sum=$(sha256sum "$file" | cut -d ' ' -f 1)
    found=$(query zero "select checksum from switchboard.schema_migrations where name = '$name'")
    [ "$found" = "$sum" ] || fail "checksum of $name is $found, not $sum"
done

# The second time nothing is applied: no row and no function is written again.
fingerprint="select md5(string_agg(t::text, ',' order by t.name)) from switchboard.schema_migrations t"
functions="select coalesce(max(p.xmin::text::bigint), 0) from pg_proc p
            where p.pronamespace = 'switchboard'::regnamespace"
before=$(query zero "$fingerprint") functions_before=$(query zero "$functions")
dump_all zero >"$scratch/before.sql"
migrate zero >"$scratch/second"
[ "$(query zero "$fingerprint")" = "$before" ] || fail "the second run changed schema_migrations"
[ "$(query zero "$functions")" = "$functions_before" ] || fail "the second run replaced functions"
dump_all zero | diff -u "$scratch/before.sql" - || fail "the second run changed the schema"

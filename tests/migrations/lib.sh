# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the tests of this folder: a throw-away cluster, a database per case.
# SWITCHBOARD_BIN is the program; ./dev migrations sets it.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=../../scripts/cluster.sh
. "$repository/scripts/cluster.sh"

program=${SWITCHBOARD_BIN:-$repository/build/dev/switchboard}
scratch=$(mktemp -d)
chmod 0755 "$scratch"
cluster=$scratch/cluster

finish() {
    cluster_remove "$cluster"
    rm -rf "$scratch"
}
trap finish EXIT
cluster_start "$cluster" throw-away

fail() {
    printf 'not as expected: %s\n' "$*" >&2
    exit 1
}

# new_database NAME: empty, owned by the migrating role.
new_database() {
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 "$(cluster_url "$cluster" postgres postgres)" \
        --command="create database $1 owner switchboard"
}

database_url() {
    cluster_url "$cluster" switchboard "$1"
}

# query DATABASE SQL: rows without decoration, as the owner.
query() {
    psql --quiet --no-psqlrc --no-align --tuples-only --set=ON_ERROR_STOP=1 "$(database_url "$1")" \
        --command="$2"
}

# migrate DATABASE: with the program.
migrate() {
    local url
    url=$(database_url "$1")
    env DATABASE_URL="$url" SWITCHBOARD_DATABASE_URL="$url" "$program" migrate
}

# apply_files DATABASE [ROOT]: with psql and the files of a checkout.
apply_files() {
    "${2:-$repository}/migrations/apply.sh" "$(database_url "$1")"
}

# Without what differs between runs: versions, random tokens, the days' partitions.
dump_filter() {
    sed -E -e '/^-- Dumped (from|by)/d' -e '/^\\(un)?restrict /d' | cat -s
}

dump_options=(--schema-only --exclude-table='switchboard.websocket_messages_2*')

# dump_all DATABASE: every object with owners and grants, to compare two databases.
dump_all() {
    "$PG_BIN/pg_dump" "${dump_options[@]}" "$(database_url "$1")" | dump_filter
}

# dump_tables DATABASE: what sql/schema.sql shows: everything but functions, whose source is in sql/.
dump_tables() {
    "$PG_BIN/pg_dump" "${dump_options[@]}" --format=custom "$(database_url "$1")" >"$scratch/dump"
    "$PG_BIN/pg_restore" --list "$scratch/dump" |
        grep -vE '^[0-9]+; [0-9]+ [0-9]+ (FUNCTION|(COMMENT|ACL) [^ ]+ FUNCTION) ' >"$scratch/list"
    "$PG_BIN/pg_restore" --use-list="$scratch/list" --no-owner --file=- "$scratch/dump" | dump_filter
}

# same_dump A B WHAT: the two databases have the same schema.
same_dump() {
    dump_all "$1" >"$scratch/$1.sql"
    dump_all "$2" >"$scratch/$2.sql"
    diff -u "$scratch/$1.sql" "$scratch/$2.sql" || fail "$3"
}

migration_count() {
    find "$repository/migrations" -maxdepth 1 -name '*.sql' | wc -l
}

repeatable_count() {
    find "$repository/sql/functions" "$repository/sql/profiles" "$repository/sql/zz_grants.sql" \
        -name '*.sql' | wc -l
}

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Applies migrations/ and sql/ with psql: what `switchboard migrate` does, with the same bookkeeping in
# switchboard.schema_migrations and under the same lock.
#
#   migrations/apply.sh [conninfo or URL]     PG* variables when there is none
#
# One line per file: applied, or unchanged.  Refuses, before anything is applied, a landed migration
# whose text has changed, and a database with a migration that is not here.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Quoted for SQL and for psql's backslash commands alike; names and folders may contain anything.
quote() {
    local text=${1//\'/\'\'}
    printf "'%s'" "$text"
}

quote_path() {
    local text=${1//\\/\\\\}
    quote "$text"
}

number() {
    if [ "$1" = - ]; then echo null; else echo "$1"; fi
}

# name, version (- for a repeatable file), path; separated by tabs
files() {
    local path name
    for path in "$root"/migrations/[0-9]*.sql; do
        name=${path##*/}
        printf '%s\t%s\t%s\n' "$name" "$((10#${name%%_*}))" "$path"
    done
    for path in "$root"/sql/functions/*.sql "$root"/sql/profiles/*.sql "$root"/sql/zz_grants.sql; do
        [ -e "$path" ] || continue
        printf '%s\t-\t%s\n' "${path#"$root"/}" "$path"
    done
}

begin_script() {
    cat <<'SQL'
\set ON_ERROR_STOP 1
\pset tuples_only on
\pset format unaligned
set client_min_messages = warning;
select pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended('switchboard.migrate', 0)) \g /dev/null
create schema if not exists switchboard;
create table if not exists switchboard.schema_migrations (
    name text primary key,
    version integer,
    checksum text not null,
    applied_at timestamptz not null default now()
);
create temporary table known (name text primary key, version integer, checksum text not null);
SQL
}

check_script() {
    cat <<'SQL'
do $$
declare
    landed record;
begin
    for landed in
        select m.name, k.name is null as is_unknown
          from switchboard.schema_migrations as m
          left join known as k on k.name = m.name
         where m.version is not null
           and m.checksum is distinct from k.checksum
         order by m.name
    loop
        if landed.is_unknown then
            raise exception 'the database has migration %, which is not here: use a newer version',
                            landed.name;
        end if;
        raise exception 'migration % has landed and may not change: its checksum differs', landed.name;
    end loop;
end;
$$;
SQL
}

# name, version, checksum, path: one file, if its checksum is not in the table
file_script() {
    local name version checksum
    local also=false
    name=$(quote "$1") version=$(number "$2") checksum=$(quote "$3")
    # A function that was dropped and made again has lost its grants.
    [ "$1" != sql/zz_grants.sql ] ||
        also='exists (select from switchboard.schema_migrations as r
                       where r.version is null and r.applied_at = now())'
    cat <<SQL
select not exists (select
                     from switchboard.schema_migrations as m
                    where m.name = $name
                      and m.checksum = $checksum) or $also as is_pending \\gset
\\if :is_pending
SQL
    [ "$2" = - ] || echo 'begin;'
    cat <<SQL
\\i $(quote_path "$4")
insert into switchboard.schema_migrations as m (name, version, checksum)
values ($name, $version, $checksum)
    on conflict (name) do update set checksum = excluded.checksum, applied_at = now();
SQL
    [ "$2" = - ] || echo 'commit;'
    cat <<SQL
\\echo $(quote_path "applied   $1")
\\else
\\echo $(quote_path "unchanged $1")
\\endif
SQL
}

script() {
    local name version path checksum repeatable=
    begin_script
    while IFS=$'\t' read -r name version path; do
        checksum=$(sha256sum <"$path")
        checksum=${checksum%% *}
        echo "insert into known values ($(quote "$name"), $(number "$version"), $(quote "$checksum"));"
    done < <(files)
    check_script
    while IFS=$'\t' read -r name version path; do
        checksum=$(sha256sum <"$path")
        if [ "$version" = - ] && [ -z "$repeatable" ]; then
            # All of them are one transaction; they may name each other in any order.
            printf 'begin;\nset local check_function_bodies = off;\n'
            repeatable=1
        fi
        file_script "$name" "$version" "${checksum%% *}" "$path"
    done < <(files)
    [ -z "$repeatable" ] || echo 'commit;'
}

if [ "$#" -gt 1 ]; then
    echo "usage: $0 [conninfo or URL]" >&2
    exit 2
fi
script | psql --no-psqlrc --quiet ${1:+--dbname="$1"} --file=-

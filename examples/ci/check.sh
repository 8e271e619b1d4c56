#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A fresh database, Switchboard's migrations, your routes, your pgTAP tests: for a CI job.
#
#   check.sh SQL_FILE ... -- TEST_FILE ...
#
# PGHOST, PGPORT, PGUSER, PGPASSWORD name a PostgreSQL that is there for this and nothing else, and a
# superuser of it; pg_virtualenv (Debian: postgresql-common) makes one and throws it away again:
#
#   pg_virtualenv -v 15 examples/ci/check.sh examples/order-status/orders.sql -- examples/ci/*_test.sql
#
# SWITCHBOARD_BIN is the program, SWITCHBOARD_ROLES its roles.sql, unless the package is installed.
set -euo pipefail

switchboard=${SWITCHBOARD_BIN:-switchboard}
roles=${SWITCHBOARD_ROLES:-/usr/share/switchboard/roles.sql}
sql_files=()
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
    sql_files+=("$1")
    shift
done
[ "$#" -gt 1 ] || {
    echo "usage: check.sh SQL_FILE ... -- TEST_FILE ..." >&2
    exit 2
}
shift

say() {
    printf '== %s\n' "$*"
}

run_psql() {
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 "$@"
}

# The role that migrates, and that routes run as.
as_owner() {
    env PGUSER=switchboard PGPASSWORD=for-ci "$@"
}

say "roles, and the database switchboard"
run_psql --dbname=postgres --set=owner_password=for-ci --file="$roles"
export PGDATABASE=switchboard

say "migrations"
as_owner "$switchboard" migrate
as_owner "$switchboard" migrate status

say "routes"
# Twice: what is deployed again and again has to bear that.
for file in "${sql_files[@]}" "${sql_files[@]}"; do
    # Notices are about what is there already.
    PGOPTIONS='-c client_min_messages=warning' as_owner \
        psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --file="$file"
done

say "tests"
run_psql --command='create extension if not exists pgtap schema public'
pg_prove "$@"

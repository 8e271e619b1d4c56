#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# How the service is started, by ./dev run and in the container alike:
#
#   start.sh               migrate, then serve
#   start.sh migrate ...   migrate only
#   start.sh serve ...     serve only; any other command of the program as well
#
# OWNER_DATABASE_URL   who migrates; DATABASE_URL (or PG*) when not set
# DATABASE_URL         who serves: needs switchboard_service and nothing more
# SWITCHBOARD_BIN      the program; otherwise the one in PATH
set -eu

program=${SWITCHBOARD_BIN:-switchboard}

migrate() {
    if [ -n "${OWNER_DATABASE_URL:-}" ]; then
        # Both names: SWITCHBOARD_DATABASE_URL would win over the alias.
        env DATABASE_URL="$OWNER_DATABASE_URL" SWITCHBOARD_DATABASE_URL="$OWNER_DATABASE_URL" \
            "$program" migrate "$@"
    else
        "$program" migrate "$@"
    fi
}

case ${1:-} in
migrate)
    shift
    migrate "$@"
    ;;
'' | -*)
    # Standard output belongs to the addresses that serve prints.
    migrate >&2
    unset OWNER_DATABASE_URL
    exec "$program" serve "$@"
    ;;
*)
    unset OWNER_DATABASE_URL
    exec "$program" "$@"
    ;;
esac

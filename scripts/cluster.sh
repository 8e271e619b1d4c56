# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A private PostgreSQL under one folder: unix socket only, no password, nothing outside the folder.
# Sourced by ./dev and by the tests.
#
#   cluster_start HOME [throw-away]   starts it (made on first use); throw-away: no fsync
#   cluster_stop HOME                 stops it, when it runs
#   cluster_url HOME USER DATABASE    prints a connection URL
#
# Roles: postgres (superuser), switchboard (owns the database and the schema) and switchboard_gateway
# (the service: may execute the API and nothing else); see roles.sql.
#
# The folders keep strangers out: HOME is 0700, so whoever reaches the socket may connect.

CLUSTER_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}

cluster_say() {
    printf '%s\n' "$*" >&2
}

# By entering, not `test -x`: access(2) ignores capabilities.
cluster_can_enter() {
    # shellcheck disable=SC2016 # the inner shell expands it
    "${CLUSTER_AS[@]}" sh -c 'cd "$1"' sh "$1" 2>/dev/null
}

# PostgreSQL refuses to run as root: then it runs as user postgres.  When that user may not pass a
# folder above HOME (a checkout in /root), the server gets the one capability that lets it; where
# the kernel does not grant it (some containers), HOME moves to /var/tmp and we say so.
# Sets CLUSTER_HOME and CLUSTER_AS (the words in front of a server command).
cluster_place() {
    local home=$1 drop
    CLUSTER_AS=()
    CLUSTER_HOME=$home
    if [ "$(id -u)" -ne 0 ]; then
        install -d -m 0700 "$home"
        if [ ! -w "$home" ]; then
            cluster_say "$home belongs to another user (it was made by root?): remove it with sudo"
            return 1
        fi
        return 0
    fi
    install -d -m 0700 -o postgres -g postgres "$home"
    drop=(setpriv --reuid=postgres --regid=postgres --init-groups)
    CLUSTER_AS=("${drop[@]}" --)
    cluster_can_enter "$home" && return 0
    CLUSTER_AS=("${drop[@]}" --inh-caps=+dac_read_search --ambient-caps=+dac_read_search --)
    cluster_can_enter "$home" && return 0
    CLUSTER_AS=("${drop[@]}" --)
    rmdir "$home" 2>/dev/null || true
    CLUSTER_HOME=/var/tmp/switchboard-$(printf %s "$home" | sha256sum | cut -c 1-16)
    install -d -m 0700 -o postgres -g postgres "$CLUSTER_HOME"
}

# The socket's path has to fit into sun_path (107 bytes), and a comma separates hosts in URLs: such
# a folder gets its socket in /tmp.
cluster_sockets() {
    local sockets=$CLUSTER_HOME/run LC_ALL=C
    if [ "${#sockets}" -gt 90 ] || [ "${sockets/,/}" != "$sockets" ]; then
        sockets=/tmp/switchboard-$(printf %s "$CLUSTER_HOME" | sha256sum | cut -c 1-16)
    fi
    printf %s "$sockets"
}

cluster_server() {
    # The server's current folder has to be one that its user may enter.
    (cd "$CLUSTER_HOME" && LC_ALL=C.UTF-8 exec "${CLUSTER_AS[@]}" "$PG_BIN/$1" "${@:2}")
}

cluster_init() {
    local fresh=$CLUSTER_HOME/data.new
    rm -rf "$fresh"
    cluster_server initdb --pgdata="$fresh" --username=postgres --auth=trust --encoding=UTF8 \
        --locale=C.UTF-8 --no-instructions --no-sync >"$CLUSTER_HOME/initdb.log" 2>&1 || {
        tail -n 20 "$CLUSTER_HOME/initdb.log" >&2
        return 1
    }
    echo "include 'switchboard.conf'" >>"$fresh/postgresql.conf"
    # Renamed when complete, so that an interrupted initdb is not taken for a cluster.
    mv "$fresh" "$CLUSTER_HOME/data"
}

cluster_configure() {
    local sockets=$1 throw_away=$2 quoted
    quoted=${sockets//\"/\"\"}
    quoted=${quoted//\'/\'\'}
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '\"$quoted\"'"
        echo "unix_socket_permissions = 0700"
        echo "max_connections = 100"
        echo "jit = off"
        if [ -n "$throw_away" ]; then
            echo "fsync = off"
            echo "full_page_writes = off"
        fi
    } >"$CLUSTER_HOME/data/switchboard.conf"
    if [ "$(id -u)" -eq 0 ]; then
        install -d -m 0700 -o postgres -g postgres "$sockets"
        chown postgres:postgres "$CLUSTER_HOME/data/switchboard.conf"
    else
        install -d -m 0700 "$sockets"
    fi
}

cluster_is_running() {
    [ -f "$CLUSTER_HOME/data/postmaster.pid" ] &&
        cluster_server pg_ctl status --pgdata="$CLUSTER_HOME/data" >/dev/null 2>&1
}

# Sets CLUSTER_STARTED to 1 when this call started the server, 0 when it ran already.
cluster_start() {
    local throw_away=${2:-} log
    cluster_place "$1" || return 1
    [ -d "$CLUSTER_HOME/data" ] || cluster_init || return 1
    CLUSTER_STARTED=0
    [ "$CLUSTER_HOME" = "$1" ] ||
        cluster_say "user postgres cannot reach $1: the database is in $CLUSTER_HOME"
    if ! cluster_is_running; then
        cluster_configure "$(cluster_sockets)" "$throw_away"
        log=$CLUSTER_HOME/postgres.log
        # Before it runs: an interrupted start is to be stopped as well.
        # shellcheck disable=SC2034 # for the caller
        CLUSTER_STARTED=1
        if ! cluster_server pg_ctl start --silent --wait --timeout=60 --log="$log" \
            --pgdata="$CLUSTER_HOME/data" >&2 </dev/null; then
            tail -n 20 "$log" >&2
            return 1
        fi
    fi
    psql --quiet --no-psqlrc --dbname="$(cluster_url "$1" postgres postgres)" \
        --set=ON_ERROR_STOP=1 --file="$CLUSTER_ROOT/scripts/roles.sql"
}

cluster_stop() {
    local sockets
    [ -d "$1" ] || [ "$(id -u)" -eq 0 ] || return 0
    cluster_place "$1" || return 0
    if cluster_is_running; then
        cluster_server pg_ctl stop --silent --wait --mode=fast --pgdata="$CLUSTER_HOME/data" >&2
    fi
    sockets=$(cluster_sockets)
    [ "$sockets" = "$CLUSTER_HOME/run" ] || rmdir "$sockets" 2>/dev/null || true
}

# For throw-away ones.
cluster_remove() {
    cluster_stop "$1"
    rm -rf "${CLUSTER_HOME:?}"
}

cluster_url() {
    local host=$1 encoded='' i c
    cluster_place "$host" || return 1
    host=$(cluster_sockets)
    for ((i = 0; i < ${#host}; i++)); do
        c=${host:i:1}
        case $c in
        [a-zA-Z0-9/._-]) encoded+=$c ;;
        *) encoded+=$(printf %s "$c" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%') ;;
        esac
    done
    printf 'postgresql://%s@/%s?host=%s' "$2" "$3" "$encoded"
}

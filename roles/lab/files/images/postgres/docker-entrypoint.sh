#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What compose files rely on of the official image: POSTGRES_*[_FILE], PGDATA, /docker-entrypoint-initdb.d, and no root.
set -eo pipefail

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# file_env NAME DEFAULT: the variable's value, from the file that NAME_FILE names where that is set.
file_env() {
    local name=$1 file=$1_FILE value=${2:-}
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then fail "both $name and $file are set (but are exclusive)"; fi
    if [ -n "${!name:-}" ]; then
        value=${!name}
    elif [ -n "${!file:-}" ]; then
        value=$(< "${!file}")
    fi
    export "$name"="$value"
    unset "$file"
}

run_sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "$@"
}

init_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                printf '%s: running %s\n' "$0" "$file"
                # shellcheck disable=SC1090  # a script of the user's
                if [ -x "$file" ]; then "$file"; else . "$file"; fi
                ;;
            *.sql) printf '%s: running %s\n' "$0" "$file"; run_sql --dbname "$POSTGRES_DB" -f "$file" ;;
            *.sql.gz) printf '%s: running %s\n' "$0" "$file"; gunzip -c "$file" | run_sql --dbname "$POSTGRES_DB" ;;
        esac
    done
}

init_database() {
    local method=${POSTGRES_HOST_AUTH_METHOD:-} words=()
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$method" != trust ]; then
        fail "Database is uninitialized and superuser password is not specified. Set POSTGRES_PASSWORD."
    fi
    eval "words=($POSTGRES_INITDB_ARGS)"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${words[@]}"
    printf '\nhost all all all %s\n' "${method:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"

    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    export PGPASSWORD=$POSTGRES_PASSWORD
    if [ "$POSTGRES_DB" != postgres ]; then
        run_sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db" ;'
    fi
    init_scripts
    unset PGPASSWORD
    PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

main() {
    if [ "${1#-}" != "$1" ]; then set -- postgres "$@"; fi
    if [ "$1" = postgres ] && [[ " $* " != *" --help "* && " $* " != *" --version "* ]]; then
        mkdir -p "$PGDATA"
        chmod 700 "$PGDATA" || true
        if [ "$(id -u)" = 0 ]; then
            find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
            find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
            exec setpriv --reuid=postgres --regid=postgres --clear-groups -- env HOME=/var/lib/postgresql "${BASH_SOURCE[0]}" "$@"
        fi
        if [ ! -s "$PGDATA/PG_VERSION" ]; then
            file_env POSTGRES_PASSWORD
            file_env POSTGRES_USER postgres
            file_env POSTGRES_DB "$POSTGRES_USER"
            file_env POSTGRES_INITDB_ARGS
            init_database
        fi
    fi
    exec "$@"
}

main "$@"

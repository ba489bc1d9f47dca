#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# As the official image: what lies in /docker-entrypoint.d runs before nginx does.
set -e
# shellcheck disable=SC1090  # scripts of the user
if [ "$1" = nginx ] || [ "$1" = nginx-debug ]; then
    for file in /docker-entrypoint.d/*; do
        case $file in
            *.envsh) if [ -x "$file" ]; then . "$file"; fi ;;
            *.sh) if [ -x "$file" ]; then "$file"; fi ;;
        esac
    done
fi
exec "$@"

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# As the official image: an option or a verb of traefik may be given without its name.
set -e
if [ "${1#-}" != "$1" ]; then
    set -- traefik "$@"
elif case ${1:-} in healthcheck | help | version) true ;; *) false ;; esac; then
    set -- traefik "$@"
fi
exec "$@"

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# As the official image: an option or a file of scripts is for node.
set -e
if [ "${1#-}" != "$1" ] || [ -z "$(command -v "$1")" ] || { [ -f "$1" ] && [ ! -x "$1" ]; }; then
    set -- node "$@"
fi
exec "$@"

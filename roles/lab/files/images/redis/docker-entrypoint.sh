#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# As the official image: options and files of configuration are for redis-server, which runs as the user redis.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- redis-server "$@"
fi
if [ "$1" = redis-server ]; then
    # The official Redis is compiled without protected mode, Debian's is not.
    case " $* " in *" --protected-mode "*) ;; *) set -- "$@" --protected-mode no ;; esac
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis '{}' +
        exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
    fi
    if [ "$(umask)" = 0022 ]; then umask 0077; fi
fi
exec "$@"

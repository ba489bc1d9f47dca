#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# /etc/nginx/templates/NAME.template becomes /etc/nginx/conf.d/NAME, with the variables of the environment filled in.
set -e
templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
filter=${NGINX_ENVSUBST_FILTER:-}

[ -d "$templates" ] || exit 0
# shellcheck disable=SC2016  # the names of variables, for envsubst to fill in
names=$(awk -v filter="$filter" 'BEGIN { for (name in ENVIRON) if (name ~ filter) printf "${%s} ", name }' < /dev/null)
find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
    relative=${template#"$templates/"}
    target=$output/${relative%"$suffix"}
    if [ ! -w "$output" ]; then
        echo "$0: ERROR: $templates exists, but $output is not writable" >&2
        exit 0
    fi
    mkdir -p "$(dirname "$target")"
    envsubst "$names" < "$template" > "$target"
done

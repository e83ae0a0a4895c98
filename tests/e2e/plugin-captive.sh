#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A single disk, served for one command: the default export is that disk.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo jq
make_raw "$tmp/repository/web01/vda.raw" 4M
export XDG_STATE_HOME=$tmp/state
mkdir "$tmp/state"
# shellcheck disable=SC2016 # $uri is nbdkit's
"${nbdkit_command[@]}" -U - "$PLUGIN" "$tmp/repository" catalog="$tmp/catalog.db" \
    --run 'nbdinfo --json "$uri"' >"$tmp/info.json"
jq -e '.exports[0]["export-name"] == "web01/vda" and .exports[0]["export-size"] == 4194304' \
    "$tmp/info.json" || fail "$(cat "$tmp/info.json")"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `where --check` asks each server: 0 when all answer, 6 when one is gone or has another size.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/vda.raw" 1M
start_nbdkit one -r file "$tmp/vda.raw"
start_nbdkit two -r file "$tmp/vda.raw"
signpost servers add one "${uri[one]}/vda" --foreign
signpost servers add two "${uri[two]}/vda" --foreign
signpost where vda --check
[ "$(signpost where vda --check --json | jq -c '[.locations[].reachable]')" = '[true,true]' ] ||
    fail "reachable: $(signpost where vda --check --json)"

expect_6() {
    local status=0
    signpost where vda --check --json >"$tmp/out" 2>/dev/null || status=$?
    [ "$status" = 6 ] || fail "$1: status $status"
    [ "$(jq -c '[.locations[].reachable]' "$tmp/out")" = '[true,false]' ] ||
        fail "$1: $(cat "$tmp/out")"
}

kill_server two
expect_6 "killed"
truncate -s 2M "$tmp/two.raw"
command_of[two]=${command_of[two]/vda.raw/two.raw}
restart_server two
expect_6 "another size"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A relay that checks keeps what it has checked, and serves it unchanged when the image behind it
# has rotted since.
. "$(dirname "$0")/cache.inc"
. "$(dirname "$0")/bit-rot.inc"

rotting_directory
make_raw "$rotting/beta/vda.raw" 24M 8
cp "$rotting/beta/vda.raw" "$tmp/good.raw"
will_rot "$rotting/beta/vda.raw"
start_server beta "$rotting/beta" digest-rate=1G
wait_until has_digest beta vda
start_gateway verify=require
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
cmp "$tmp/good.raw" "$tmp/read.raw" || fail "a wrong byte"
wait_until caches_at_least 25165824
whole='[{disk: "vda", known_by: "verified", size: 25165824, cached_bytes: 25165824}]'
signpost cache "$tmp/cache" --json | jq -e ".contents == $whole" >/dev/null ||
    fail "$(signpost cache "$tmp/cache" --json)"

rot 17000000
stop_server gateway
restart_server gateway
open_session "$(disk_uri gateway vda)"
expect_read 16900000 200000 "$tmp/good.raw"
expect_read 0 25165824 "$tmp/good.raw"

# It has been checked: nobody is needed to serve it.
close_session
stop_server gateway
kill_server beta
restart_server gateway
same_bytes "$tmp/good.raw" "$(disk_uri gateway vda)"

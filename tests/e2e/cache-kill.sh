#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server is killed again and again while it fills its cache: no client ever reads a wrong byte,
# and what was stored is there in the end.
. "$(dirname "$0")/cache.inc"

cached_disk 48M 2
for round in 1 2 3 4 5 6; do
    nbdcopy "$(disk_uri gateway vda)" "$tmp/read.$round" 2>"$tmp/nbdcopy.log" &
    client=$!
    wait_until caches_at_least $((round * 5000000))
    kill_server gateway
    wait "$client" || true
    restart_server gateway
    nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
    cmp "$tmp/beta/vda.raw" "$tmp/read.raw" || fail "a wrong byte in round $round"
done
! grep -q 'not what was stored' "$tmp/gateway.log" || fail "the index was ahead of the file"

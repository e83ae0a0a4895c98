#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What was relayed once is served from the cache: while the peer that has the disk says nothing, and
# by a server that was started anew.
. "$(dirname "$0")/cache.inc"

cached_disk 24M 1
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
cmp "$tmp/beta/vda.raw" "$tmp/read.raw" || fail "other bytes while it was relayed"
wait_until caches_at_least 14000000

stop_server gateway
restart_server gateway
open_session "$(disk_uri gateway vda)"
expect_read 0 4096 "$tmp/beta/vda.raw"
kill -STOP "${pid[beta]}"
for offset in 0 5000000 12345678 23000000; do
    expect_read $offset 1000000 "$tmp/beta/vda.raw"
    [ "$answer_ms" -lt 2000 ] || fail "it took $answer_ms ms"
done
kill -CONT "${pid[beta]}"

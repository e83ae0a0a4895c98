#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a machine reads when it starts is learnt by the server that serves it, and fetched beforehand
# by another one that opens the disk later.
. "$(dirname "$0")/cache.inc"

requires sqlite3
cached_disk 24M 6
open_session "$(disk_uri gateway vda)"
for offset in 8192 5000000 12345678; do
    expect_read $offset 1000000 "$tmp/beta/vda.raw"
done
close_session
stop_server gateway
[ "$(sqlite3 "$catalog" 'SELECT count(*) FROM boot_profile')" = 1 ] || fail "nothing was learnt"

rm -r "$tmp/cache"
restart_server gateway
open_session "$(disk_uri gateway vda)"
wait_until caches_at_least 3000000
kill -STOP "${pid[beta]}"
for offset in 8192 5000000 12345678; do
    expect_read $offset 1000000 "$tmp/beta/vda.raw"
done
kill -CONT "${pid[beta]}"

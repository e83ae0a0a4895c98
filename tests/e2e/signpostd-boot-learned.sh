#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a machine reads when it starts is learnt by a server that keeps nothing: one that has the
# disk, and one that relays it. Another one with a cache fetches it beforehand. What other servers
# read is no start.
. "$(dirname "$0")/cache.inc"

requires sqlite3
make_raw "$tmp/beta/own.raw" 24M 6
make_raw "$tmp/beta/far.raw" 24M 7
start_server beta "$tmp/beta"
wait_published beta own
wait_published beta far
start_server relay

# boot SERVER DISK
boot() {
    open_session "$(disk_uri "$1" "$2")"
    for offset in 8192 5000000 12345678; do
        expect_read $offset 1000000 "$tmp/beta/${2#local:}.raw"
    done
    close_session
}
learnt() {
    [ "$(sqlite3 "$catalog" 'SELECT group_concat(disk) FROM
        (SELECT disk FROM boot_profile ORDER BY disk)')" = "$1" ]
}
boot beta local:far
boot beta own
wait_until learnt own
boot relay far
wait_until learnt far,own

start_gateway
for disk in own far; do
    open_session "$(disk_uri gateway $disk)"
    wait_until caches_at_least 3000000
    close_session
    stop_server gateway
    rm -r "$tmp/cache"
    restart_server gateway
done

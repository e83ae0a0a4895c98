#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog is on a read-only file system: servers start, serve their own disks and relay others';
# a change is refused with one line that names the catalog.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy jq
mount_tmpfs "$tmp/state" 8m
catalog=$tmp/state/catalog.db
make_raw "$tmp/alpha/own.raw" 2M 1
make_raw "$tmp/beta/other.raw" 2M 2
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published alpha own
wait_published beta other

stop_server alpha beta
mount -o remount,ro "$tmp/state"
restart_server beta
restart_server alpha
same_bytes "$(disk_uri alpha own)" "$tmp/alpha/own.raw"
same_bytes "$(disk_uri alpha other)" "$tmp/beta/other.raw"
if signpost servers add vault nbd://127.0.0.1:9 2>"$tmp/err"; then
    fail "a change of a read-only catalog succeeds"
fi
grep -q "$catalog" "$tmp/err" || fail "the message does not name the catalog: $(cat "$tmp/err")"
[ "$(grep -c "$catalog" "$tmp/alpha.log")" -ge 1 ] || fail "the server's log does not name it"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog's file system is full: a change is refused with one line, nothing is lost, sessions
# and look-ups go on; with space again, so do changes.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy sqlite3 jq
mount_tmpfs "$tmp/state" 1m
catalog=$tmp/state/catalog.db
make_raw "$tmp/alpha/own.raw" 2M 1
make_raw "$tmp/beta/other.raw" 2M 2
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published alpha own
wait_published beta other
open_session "$(disk_uri alpha other)"

fill_up "$tmp/state/filler"
# What is free inside the catalog's own files goes, too.
refused=0
for number in {1..2000}; do
    if ! signpost servers add "vault-$number" "nbd://127.0.0.1:$((2000 + number))" \
        >/dev/null 2>"$tmp/err"; then
        refused=$number
        break
    fi
done
[ "$refused" -gt 0 ] || fail "2,000 servers fit into a full file system"
grep -q "$catalog" "$tmp/err" || fail "the message does not name the catalog: $(cat "$tmp/err")"
expect_read 0 2097152 "$tmp/beta/other.raw"
same_bytes "$(disk_uri alpha own)" "$tmp/alpha/own.raw"
same_bytes "$(disk_uri alpha other)" "$tmp/beta/other.raw"

rm "$tmp/state/filler"
wait_until signpost servers add "vault-$refused" "nbd://127.0.0.1:$((2000 + refused))"
[ "$(sqlite3 "$catalog" 'PRAGMA integrity_check')" = ok ] || fail "the catalog is damaged"
wait_published beta other

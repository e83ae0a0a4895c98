#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# PostgreSQL is frozen, and then stopped: open sessions go on, own disks and known ones open within
# a second, the first one and after a restart, too. A disk that moved meanwhile is refused as
# quickly, and followed when the catalog is back.
. "$(dirname "$0")/stubs.inc"
. "$(dirname "$0")/postgres.inc"

requires nbdkit
make_raw "$tmp/beta/a.raw" 4M 1
make_raw "$tmp/beta/moves.raw" 1M 2
make_raw "$tmp/alpha/own.raw" 1M 3
mkdir "$tmp/gamma"
start_postgres db
catalog=${postgres_uri[db]}
start_server beta "$tmp/beta"
start_server gamma "$tmp/gamma"
start_server alpha "$tmp/alpha"
wait_published beta a
wait_published beta moves
wait_published alpha own
wait_known alpha a moves own
open_session "$(disk_uri alpha a)"
expect_read 0 65536 "$tmp/beta/a.raw"

freeze_postgres db
opens_within 1000 alpha a "$tmp/beta/a.raw"
opens_within 300 alpha a "$tmp/beta/a.raw"
opens_within 300 alpha own "$tmp/alpha/own.raw"
expect_read 65536 65536 "$tmp/beta/a.raw"
lists_as_stale "${uri[alpha]}" a || fail "the list does not say how old it is"
kill_server alpha
restart_server alpha
opens_within 1000 alpha a "$tmp/beta/a.raw"
mv "$tmp/beta/moves.raw" "$tmp/gamma/"
cannot_read "$(disk_uri alpha moves)" 2000

thaw_postgres db
wait_published gamma moves
follows() { nbdcopy "$(disk_uri alpha moves)" - | cmp "$tmp/gamma/moves.raw"; }
wait_until follows
wait_known_on alpha moves gamma

stop_postgres db
opens_within 1000 alpha a "$tmp/beta/a.raw"
opens_within 300 alpha own "$tmp/alpha/own.raw"
kill_server alpha
restart_server alpha
opens_within 1000 alpha moves "$tmp/gamma/moves.raw"
! signpost status --server alpha >"$tmp/status" || fail "status of a catalog that is away is 0"
has 'known by *stubs of server alpha, as of 2' <"$tmp/status" || fail "$(cat "$tmp/status")"

restart_postgres db
is_present() { ! lists_as_stale "${uri[alpha]}" a; }
wait_until is_present
cp "$tmp/alpha/own.raw" "$tmp/alpha/new.raw"
wait_published alpha new # although it was started without the catalog

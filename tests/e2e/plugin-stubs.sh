#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog goes: disks of others open all the same, even those that nobody has asked for, and
# after a restart, too; the list says how old that is. When the catalog is back, so is the present.
. "$(dirname "$0")/stubs.inc"

requires nbdkit
make_raw "$tmp/beta/a.raw" 4M 1
make_raw "$tmp/alpha/own.raw" 1M 2
mkdir "$tmp/catalog"
catalog=$tmp/catalog/catalog.db
start_server beta "$tmp/beta"
start_server alpha "$tmp/alpha"
wait_published beta a
wait_published alpha own
wait_known alpha a own
open_session "$(disk_uri alpha a)"
expect_read 0 65536 "$tmp/beta/a.raw"

mv "$tmp/catalog" "$tmp/away"
opens_within 1000 alpha a "$tmp/beta/a.raw"
opens_within 1000 alpha own "$tmp/alpha/own.raw"
expect_read 65536 65536 "$tmp/beta/a.raw"
lists_as_stale "${uri[alpha]}" a || fail "the list does not say how old it is"
cannot_read "$(disk_uri alpha unheard-of)" 2000

kill_server alpha
restart_server alpha
opens_within 1000 alpha a "$tmp/beta/a.raw"
opens_within 1000 alpha own "$tmp/alpha/own.raw"

! signpost status >"$tmp/status" 2>/dev/null || fail "status of a catalog that is away is 0"
if ! signpost status --server alpha --json >"$tmp/status.json"; then
    jq -e '.knowledge == "stubs" and (.as_of | test("Z$")) and .disks == 2' "$tmp/status.json" ||
        fail "status: $(cat "$tmp/status.json")"
fi
signpost explain a --server alpha >"$tmp/explained"
has 'stubs of server alpha, as of 2' <"$tmp/explained" || fail "$(cat "$tmp/explained")"
has 'alpha relays it from beta' <"$tmp/explained" || fail "$(cat "$tmp/explained")"

mv "$tmp/away" "$tmp/catalog"
is_present() { ! lists_as_stale "${uri[alpha]}" a; }
wait_until is_present

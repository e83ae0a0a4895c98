#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that may fetches all of a disk that clients read a part of, at its rate, also when they
# have left and over a restart; then it makes an image of its own of what it has, and publishes it.
# A disk that was only looked at is left where it is.
. "$(dirname "$0")/cache.inc"

make_raw "$tmp/beta/vda.raw" 24M 4
make_raw "$tmp/beta/idle.raw" 24M 5
signpostd_options=(--audit-log="$tmp/beta.audit")
start_server beta "$tmp/beta" digest-rate=1G
signpostd_options=()
wait_published beta idle
has_digest() {
    signpost where vda --json | jq -e '.locations[0].digest != null'
}
wait_until has_digest
start_gateway cache-fill=4M
open_session "$(disk_uri gateway idle)"
expect_read 0 65536 "$tmp/beta/idle.raw"
close_session
open_session "$(disk_uri gateway vda)"
started=$(now_ms)
expect_read 0 2000000 "$tmp/beta/vda.raw"
close_session
wait_until caches_at_least 10000000
[ $(($(now_ms) - started)) -gt 1500 ] || fail "it was faster than its rate"
[ ! -e "$tmp/none/vda.raw" ] || fail "there is an image before all is there"

stop_server gateway
restart_server gateway
nbdinfo --size "$(disk_uri gateway vda)" >/dev/null
wait_published gateway vda
cmp "$tmp/beta/vda.raw" "$tmp/none/vda.raw" || fail "other bytes"
grep -q "disk 'vda' is all in the cache" "$tmp/gateway.log" || fail "it was not said"
[ "$(signpost jobs --json | jq length)" = 1 ] || fail "$(signpost jobs --json)"
is_gone gateway idle || fail "a disk that was only looked at was fetched"
stop_server gateway beta
sent=$(jq -s '[.[] | select(.op == "close") | .bytes_read] | add' "$tmp/beta.audit")
[ "$sent" -le $(((24 << 20) * 110 / 100)) ] || fail "the peer has sent $sent bytes"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server is drained while a client reads its disk through another one: the client moves to the
# equal copy without an error or a stall, `--wait` ends when nobody is left, and the kill -9 after
# that is noticed by nobody. What only the drained server has is said, and still served.
. "$(dirname "$0")/functions.sh"

requires jq
make_raw "$tmp/beta/vda.raw" 8M 1
make_raw "$tmp/beta/only.raw" 1M 2
mkdir "$tmp/gamma"
cp "$tmp/beta/vda.raw" "$tmp/gamma/vda.raw"
start_server beta priority=1 "$tmp/beta"
start_server gamma "$tmp/gamma"
start_server alpha
wait_published beta vda
wait_published gamma vda
wait_published beta only
signpost verify vda

open_session "$(disk_uri alpha vda)"
expect_read 0 65536 "$tmp/beta/vda.raw"
worst=0
read_on() {
    expect_read $((RANDOM % 100 * 65536)) 65536 "$tmp/beta/vda.raw"
    worst=$((answer_ms > worst ? answer_ms : worst))
}

signpost servers drain beta --wait >"$tmp/drain.log" 2>&1 &
drain=$!
cleanup_fn kill "$drain"
while kill -0 "$drain" 2>/dev/null; do
    read_on
    sleep 0.02
done
wait "$drain" || fail "servers drain: $(cat "$tmp/drain.log")"
grep -q "nobody uses it any more" "$tmp/drain.log" || fail "said: $(cat "$tmp/drain.log")"
grep -q "1 disk without another copy .* is served on: only" "$tmp/drain.log" ||
    fail "said: $(cat "$tmp/drain.log")"
[ "$(signpost servers -H -o name,state | grep beta)" = "$(printf 'beta\tdraining')" ] ||
    fail "servers: $(signpost servers)"

# New clients: elsewhere, or where the only copy is.
nbdinfo "$(disk_uri alpha vda)" | has "on gamma" || fail "$(nbdinfo "$(disk_uri alpha vda)")"
same_bytes "$(disk_uri alpha only)" "$tmp/beta/only.raw"

kill_server beta
for _ in {1..20}; do
    read_on
done
[ "$worst" -lt 1000 ] || fail "a read took $worst ms"

signpost servers drain beta --off
[ "$(signpost servers --json | jq -c 'map(.draining)')" = '[false,false,false]' ] ||
    fail "still draining: $(signpost servers)"

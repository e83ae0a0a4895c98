#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Many clients read the same disk at the same time through one relay: its peer sends it once.
. "$(dirname "$0")/cache.inc"

make_raw "$tmp/beta/vda.raw" 32M 5
signpostd_options=(--audit-log="$tmp/beta.audit")
start_server beta "$tmp/beta"
signpostd_options=()
wait_published beta vda
start_gateway
clients=()
for i in $(seq 16); do
    nbdcopy --connections=1 "$(disk_uri gateway vda)" "$tmp/read.$i" &
    clients+=($!)
done
for i in "${clients[@]}"; do
    wait "$i" || fail "a client failed"
done
for i in $(seq 16); do
    cmp "$tmp/beta/vda.raw" "$tmp/read.$i" || fail "a wrong byte"
    rm "$tmp/read.$i"
done
stop_server gateway beta
sent=$(jq -s '[.[] | select(.op == "close") | .bytes_read] | add' "$tmp/beta.audit")
[ "$sent" -le $(((32 << 20) * 105 / 100)) ] || fail "the peer has sent $sent bytes"

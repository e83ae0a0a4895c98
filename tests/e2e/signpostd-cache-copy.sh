#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A site that has read a disk takes a copy of its own: what is in the cache is not sent again, and
# the server is a location of the disk then.
. "$(dirname "$0")/cache.inc"

make_raw "$tmp/beta/vda.raw" 32M 7
signpostd_options=(--audit-log="$tmp/beta.audit")
start_server beta "$tmp/beta" digest-rate=1G
signpostd_options=()
wait_published beta vda
has_digest() {
    signpost where vda --json | jq -e '.locations[0].digest != null'
}
wait_until has_digest
mkdir "$tmp/none"
start_gateway
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
signpost copy vda --to gateway >/dev/null
cmp "$tmp/beta/vda.raw" "$tmp/none/vda.raw" || fail "other bytes"
wait_published gateway vda
stop_server gateway beta
sent=$(jq -s '[.[] | select(.op == "close") | .bytes_read] | add' "$tmp/beta.audit")
[ "$sent" -le $(((32 << 20) * 105 / 100)) ] || fail "the peer has sent $sent bytes"

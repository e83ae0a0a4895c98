#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An image that gets a new generation while it is read gets no digest.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
requires_nbdkit filter delay
make_raw "$tmp/repo/vda.raw" 1M 1
start_nbdkit alpha -r --verbose --filter=delay file "$tmp/repo/vda.raw" rdelay=2
signpost scan "$tmp/repo" --server alpha --uri "${uri[alpha]}"
signpost verify vda --json >"$tmp/out" &
verify=$!
wait_until grep -q 'delay: pread' "$tmp/alpha.log"
make_raw "$tmp/repo/vda.raw" 1M 2
signpost scan "$tmp/repo" --server alpha
status=0
wait $verify || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/out")"
[ "$(jq -r '.[0].locations[0].result' "$tmp/out")" = changed ] || fail "$(cat "$tmp/out")"
[ "$(signpost where vda --json | jq '.locations[0].digest')" = null ] || fail "a digest is stored"

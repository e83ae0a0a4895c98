#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that stops sending in the middle is given up; the other copy is verified all the same.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
requires_nbdkit filter delay
make_raw "$tmp/vda.raw" 8M 1
start_nbdkit slow -r --filter=delay file "$tmp/vda.raw" rdelay=60
start_nbdkit good -r file "$tmp/vda.raw"
signpost servers add slow "${uri[slow]}/vda" --foreign
signpost servers add good "${uri[good]}/vda" --foreign
status=0
start=$(now_ms)
signpost verify vda --json >"$tmp/out" || status=$?
[ "$status" = 4 ] || fail "status $status: $(cat "$tmp/out")"
[ $(($(now_ms) - start)) -lt 15000 ] || fail "took $(($(now_ms) - start)) ms"
[ "$(jq -c '[.[0].locations[] | [.server, .result]]' "$tmp/out")" = \
    '[["good","verified"],["slow","unreachable"]]' ] || fail "$(cat "$tmp/out")"

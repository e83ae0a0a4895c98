#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Signpost server that serves another image than the catalog's row means gets no digest stored:
# its fingerprint says so.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/alpha/vda.raw" 1M 1
start_server alpha "$tmp/alpha"
wait_published alpha vda
make_raw "$tmp/elsewhere/vda.raw" 1M 2
signpost scan "$tmp/elsewhere" --server alpha

status=0
signpost verify vda --json >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/out")"
[ "$(jq -r '.[0].locations[0].result' "$tmp/out")" = changed ] || fail "$(cat "$tmp/out")"
[ "$(signpost where vda --json | jq '.locations[0].digest')" = null ] || fail "a digest is stored"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A flipped bit under the same fingerprint: `verify` finds it, names the chunk, marks that copy
# damaged; a session that was reading from it goes on with the other one, and so do new ones. Once
# the bit is right, the next `verify` heals.
. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/bit-rot.inc"

requires nbdcopy nbdinfo jq
rotting_directory
make_raw "$rotting/a/vda.raw" 9M 1
mkdir "$tmp/b"
cp "$rotting/a/vda.raw" "$tmp/b/vda.raw"
cp "$rotting/a/vda.raw" "$tmp/good.raw"
will_rot "$rotting/a/vda.raw"
start_server alpha "$rotting/a" digest-rate=1G priority=1
start_server beta "$tmp/b" digest-rate=1G
for name in alpha beta; do
    wait_until has_digest $name vda
done
[ "$(signpost info vda --json | jq -c .same_content)" = '[["alpha","beta"]]' ] || fail "not equal"
[ "$(nbdinfo --size "$(disk_uri alpha digests:vda)")" = 96 ] || fail "no chunk digests"
! nbdinfo "$(disk_uri alpha digests:vdb)" 2>/dev/null || fail "digests of nothing"
! nbdinfo --list "${uri[alpha]}" | grep -q digests: || fail "digests are listed"

mkdir "$tmp/none"
start_server gateway "$tmp/none"
open_session "$(disk_uri gateway vda)"
rot 5000000
! reads_right 4999000 2000 "$tmp/good.raw" || fail "not read from alpha"
status=0
signpost verify vda >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/out")"
grep -q 'alpha.*damaged.*bytes 4194304 to 8388608 ' "$tmp/out" || fail "$(cat "$tmp/out")"
grep -q 'beta.*verified' "$tmp/out" || fail "$(cat "$tmp/out")"
is_in_state damaged alpha vda || fail "alpha is $(state_of alpha vda)"
wait_until reads_right 4999000 2000 "$tmp/good.raw"
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
cmp "$tmp/good.raw" "$tmp/read.raw" || fail "the gateway reads wrong bytes"
status=0
signpost verify vda --server alpha >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "still damaged: status $status: $(cat "$tmp/out")"

rot 5000000
signpost verify --glob 'v*' >"$tmp/out" || fail "$(cat "$tmp/out")"
is_in_state ready alpha vda || fail "not healed: alpha is $(state_of alpha vda)"

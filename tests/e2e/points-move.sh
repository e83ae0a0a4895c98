#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A restore point is copied and moved like any disk, a bare name copied as the newest point. A layer
# of a chain is not given up: the one below would pass for a newer state of the disk.
. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/bit-rot.inc"

requires nbdkit qemu-img jq
make_raw "$tmp/image.raw" 4M 11
mkdir -p "$tmp/alpha/web01" "$tmp/alpha/db" "$tmp/beta"
cp "$tmp/image.raw" "$tmp/alpha/web01/vda-2026-11-20.raw"
make_qcow2 "$tmp/alpha/db/vda.qcow2" 2M 12
qemu-img create -q -f qcow2 -b vda.qcow2 -F qcow2 "$tmp/alpha/db/vda.snap1"
start_server alpha "$tmp/alpha" digest-rate=1G
start_server beta "$tmp/beta" digest-rate=1G
wait_until has_digest alpha web01/vda@2026-11-20
wait_until has_digest alpha db/vda

signpost move web01/vda@2026-11-20 --to beta | has 'moved to beta' || fail "not moved"
cmp "$tmp/image.raw" "$tmp/beta/web01/vda@2026-11-20.raw"
[ ! -e "$tmp/alpha/web01/vda-2026-11-20.raw" ] || fail "alpha still has its image"
! signpost move web01/vda --to alpha 2>"$tmp/said" || fail "a bare name is moved"
signpost copy web01/vda --to alpha 2>"$tmp/said" >/dev/null || fail "no copy: $(cat "$tmp/said")"
has 'its newest point, web01/vda@2026-11-20' <"$tmp/said" || fail "$(cat "$tmp/said")"
cmp "$tmp/image.raw" "$tmp/alpha/web01/vda@2026-11-20.raw"

! signpost move db/vda --to beta >"$tmp/said" 2>&1 || fail "a layer is moved"
has 'chain of layers' <"$tmp/said" || fail "$(cat "$tmp/said")"
[ -e "$tmp/alpha/db/vda.snap1" ] || fail "alpha has lost a layer"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server whose clock is two hours ahead, one whose clock is two hours behind, and a client of the
# catalog with a wrong clock: nothing counts a live server as silent, and disks go where they would.
. "$(dirname "$0")/functions.sh"

requires jq faketime
make_raw "$tmp/beta/vda.raw" 1M 1
mkdir "$tmp/gamma"
cp "$tmp/beta/vda.raw" "$tmp/gamma/vda.raw"
export FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
real=$SIGNPOSTD
# A process of its own would not be the one that sockets are handed to.
library=$(faketime -f +0 printenv LD_PRELOAD)
with_clock() {
    printf '#!/bin/sh\nLD_PRELOAD=%s FAKETIME=%s exec "%s" "$@"\n' "$library" "$1" "$real" \
        >"$tmp/signpostd$1"
    chmod +x "$tmp/signpostd$1"
    SIGNPOSTD=$tmp/signpostd$1
}
with_clock -2h
start_server beta "$tmp/beta"
with_clock +2h
start_server gamma priority=200 "$tmp/gamma"
start_server alpha
wait_published beta vda
wait_published gamma vda

for clock in -2h +0 +2h; do
    said=$(faketime -f "$clock" "$SIGNPOST" --catalog "sqlite:$catalog" servers --json)
    jq -e 'all(.heartbeat_age_s < 15)' <<<"$said" >/dev/null || fail "at $clock: $said"
    said=$(faketime -f "$clock" "$SIGNPOST" --catalog "sqlite:$catalog" doctor --json) ||
        [ $? = 6 ] || fail "at $clock doctor ends otherwise than by problems that it found: $said"
    jq -e '[.findings[].check] | index("server") and (index("heartbeat") | not)' <<<"$said" \
        >/dev/null || fail "at $clock: $said"
done
# Beta is preferred, as long as it is not counted as silent or gone.
nbdinfo "$(disk_uri alpha vda)" | has "on beta" || fail "$(nbdinfo "$(disk_uri alpha vda)")"
same_bytes "$(disk_uri alpha vda)" "$tmp/beta/vda.raw"

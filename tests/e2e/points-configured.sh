#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `points` says how this repository writes dates; `off` leaves every name as its path is.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
make_raw "$tmp/alpha/web01/vda_19.11.2026.raw" 1M 1
make_raw "$tmp/alpha/web01/vda-2026-11-20.raw" 1M 2
cp -r "$tmp/alpha" "$tmp/beta"
start_server alpha "$tmp/alpha" "points={disk}_%d.%m.%Y"
start_server beta "$tmp/beta" points=off
wait_published alpha web01/vda@2026-11-19
wait_published alpha web01/vda-2026-11-20
wait_published beta web01/vda_19.11.2026
wait_published beta web01/vda-2026-11-20
same_bytes "$(disk_uri alpha web01/vda@2026-11-19)" "$tmp/alpha/web01/vda_19.11.2026.raw"
same_bytes "$(disk_uri alpha local:web01/vda-2026-11-20)" "$tmp/alpha/web01/vda-2026-11-20.raw"
! nbdcopy "$(disk_uri beta local:web01/vda@2026-11-19)" null: 2>/dev/null ||
    fail "a point although points are off"

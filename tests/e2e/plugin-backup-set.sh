#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A set of virtnbdbackup that grows while the server runs: each point comes when its file does, is
# relayed, and goes when what it is based on goes.
. "$(dirname "$0")/functions.sh"

requires nbdcopy virtnbdbackup
mkdir -p "$tmp/made" "$tmp/beta/web01"
"$PYTHON" -B "$here/random_backups.py" --make "$tmp/made"
start_server beta "$tmp/beta"
start_server alpha
bring() {
    cp "$tmp/made/$1" "$tmp/beta/web01/$1.partial"
    mv "$tmp/beta/web01/$1.partial" "$tmp/beta/web01/$1"
}
bring vda.full.data
wait_published beta web01/vda@2026-11-20T02:00:00
same_bytes "$(disk_uri alpha web01/vda@2026-11-20T02:00:00)" "$tmp/made/1.raw"
bring vda.inc.virtnbdbackup.1.data
wait_published beta web01/vda@2026-11-21T02:00:00
same_bytes "$(disk_uri alpha web01/vda@2026-11-21T02:00:00)" "$tmp/made/2.raw"
bring vda.diff.1763776800.data
wait_published beta web01/vda@2026-11-22T02:00:00
same_bytes "$(disk_uri alpha web01/vda@2026-11-22T02:00:00)" "$tmp/made/3.raw"
rm "$tmp/beta/web01/vda.inc.virtnbdbackup.1.data"
wait_withdrawn beta web01/vda@2026-11-21T02:00:00
wait_withdrawn beta web01/vda@2026-11-22T02:00:00
same_bytes "$(disk_uri alpha web01/vda@2026-11-20T02:00:00)" "$tmp/made/1.raw"
grep -q 'virtnbdbackup.1, which no file beside it has' "$tmp/beta.log" || fail "not said why"

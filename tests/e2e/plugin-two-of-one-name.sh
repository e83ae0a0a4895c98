#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two files that give the same disk name are both refused, and the log names them; a peer's copy is
# served instead, and that is said, too.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo qemu-img
make_raw "$tmp/alpha/web.raw" 1M 1
make_qcow2 "$tmp/alpha/web.qcow2" 1M 2
make_raw "$tmp/beta/web.raw" 2M 3
start_server alpha "$tmp/alpha"
if nbdinfo --size "$(disk_uri alpha web)" 2>/dev/null; then
    fail "one of the two is served"
fi
grep "web.raw" "$tmp/alpha.log" | has "web.qcow2" || fail "the log does not name both"
start_server beta "$tmp/beta"
wait_published beta web
same_bytes "$(disk_uri alpha web)" "$tmp/beta/web.raw"
grep -q "relayed instead" "$tmp/alpha.log" || fail "it is not said that the disk is relayed"

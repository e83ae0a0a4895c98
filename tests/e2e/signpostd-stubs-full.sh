#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# There is no space left for stubs: one line, and everything else goes on.
. "$(dirname "$0")/stubs.inc"

make_raw "$tmp/beta/a.raw" 1M 1
for ((i = 0; i < 300; i++)); do
    echo >"$tmp/beta/disk-with-a-long-name-that-takes-some-space-in-a-database-$i.raw"
done
mount_tmpfs "$tmp/small" 400K
export STATE_DIRECTORY=$tmp/small
head -c 300K /dev/zero >"$tmp/small/filler"
start_server alpha
export STATE_DIRECTORY=$tmp/state
start_server beta "$tmp/beta"
says_so() { grep -q 'cannot be kept' "$tmp/alpha.log"; }
wait_until -t 30 says_so
wait_published beta a
same_bytes "$(disk_uri alpha a)" "$tmp/beta/a.raw"
[ "$(grep -c 'cannot be kept' "$tmp/alpha.log")" = 1 ] || fail "it says so more than once"

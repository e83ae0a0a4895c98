#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An image is written in place under an open read-only session: errors, never a mixture. A new
# session sees the new bytes.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/repository/a.raw" 4M 1
start_server alpha "$tmp/repository"
open_session "$(disk_uri alpha a)"
expect_read 0 65536 "$tmp/repository/a.raw"
dd if=/dev/urandom of="$tmp/repository/a.raw" bs=64K seek=32 count=1 conv=notrunc status=none
for offset in 0 2097152; do
    ask read "$offset" 65536
    [ "$answer" = EIO ] || fail "at $offset after a change: $answer"
done
same_bytes "$(disk_uri alpha a)" "$tmp/repository/a.raw"

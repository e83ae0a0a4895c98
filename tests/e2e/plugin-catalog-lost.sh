#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog is destroyed while servers run: open sessions go on, relayed ones included, and own
# disks open.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/beta/a.raw" 4M 1
make_raw "$tmp/alpha/own.raw" 1M 2
start_server beta "$tmp/beta"
start_server alpha "$tmp/alpha"
wait_published beta a
open_session "$(disk_uri alpha a)"
expect_read 0 65536 "$tmp/beta/a.raw"
for file in "$catalog" "$catalog-wal"; do
    [ ! -e "$file" ] || dd if=/dev/urandom of="$file" bs=64K count=4 conv=notrunc status=none
done
expect_read 1048576 65536 "$tmp/beta/a.raw"
same_bytes "$(disk_uri alpha own)" "$tmp/alpha/own.raw"
same_bytes "$(disk_uri beta a)" "$tmp/beta/a.raw"

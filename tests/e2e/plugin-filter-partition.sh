#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The partition filter shows one partition of a relayed disk.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
requires_nbdkit filter partition
make_raw "$tmp/beta/a.raw" 8M 1
"$PYTHON" - "$tmp/beta/a.raw" <<'PYTHON'
import struct
import sys
entries = b"".join(struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), start, size)
                   for start, size in ((2048, 4096), (8192, 2048)))
with open(sys.argv[1], "r+b") as image:
    image.seek(446)
    image.write(entries.ljust(64, bytes(1)) + bytes((0x55, 0xAA)))
PYTHON
start_server beta "$tmp/beta"
start_server alpha --filter=partition -- partition=2
wait_published beta a
dd if="$tmp/beta/a.raw" of="$tmp/expected.raw" bs=512 skip=8192 count=2048 status=none
same_bytes "$(disk_uri alpha a)" "$tmp/expected.raw"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The benchmark of backup sets runs, finds the same bytes at all servers, and prints its tables;
# here with a small disk, its figures mean nothing.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo qemu-nbd qemu-img virtnbdbackup
requires_nbdkit plugin python
[ -x "$BUILD_DIR/tests/bench/nbd_load" ] || fail "nbd_load is not built"
"$PYTHON" -B "$SOURCE_DIR/tests/bench/backup_bench" --build "$BUILD_DIR" --seconds 0.1 --rounds 1 \
    --size 8388608 --folder "$tmp" >"$tmp/tables" 2>"$tmp/bench.log" ||
    fail "backup_bench fails: $(cat "$tmp/bench.log")"
for row in 'signpostd, the set' 'signpostd, compressed set' 'qemu-nbd, merged' \
    'qemu-nbd, merged and compressed' "virtnbdmap's nbdkit, full backup only"; do
    [ "$(grep -c "^| $row | [0-9]" "$tmp/tables")" = 2 ] ||
        fail "no row for $row: $(cat "$tmp/tables")"
done
grep -A 3 '^| CPU, ratio' "$tmp/tables" | has '^| 256 KiB' || fail "no ratio: $(cat "$tmp/tables")"

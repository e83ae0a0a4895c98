#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The benchmark of files out of disks runs and prints its tables; here with a small disk, its
# figures mean nothing.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo mke2fs debugfs qemu-img virtnbdbackup
requires_nbdkit filter delay
"$PYTHON" -B "$SOURCE_DIR/tests/bench/files_bench" --build "$BUILD_DIR" --rounds 1 --names 500 \
    --size 4194304 --folder "$tmp" --crowd 0 --points 2 --no-guestfish \
    >"$tmp/tables" 2>"$tmp/bench.log" ||
    fail "files_bench fails: $(cat "$tmp/bench.log")"
for table in '^| 4 MiB |' '^| 500 names |'; do
    grep -A 3 "$table" "$tmp/tables" >"$tmp/table" || fail "no table: $(cat "$tmp/tables")"
    for row in 'from another signpostd' 'from afar, 5ms a read'; do
        grep -q "^| $row | [0-9]" "$tmp/table" || fail "no row \"$row\": $(cat "$tmp/tables")"
    done
done
for row in 'a qcow2 chain' 'a virtnbdbackup set'; do
    grep -q "^| $row | [0-9]" "$tmp/tables" || fail "no row \"$row\": $(cat "$tmp/tables")"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The relay benchmark runs and prints its tables; here for a moment only, its figures mean nothing.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo qemu-nbd
[ -x "$BUILD_DIR/tests/bench/nbd_load" ] || fail "nbd_load is not built"
"$PYTHON" -B "$SOURCE_DIR/tests/bench/relay_bench" --build "$BUILD_DIR" --seconds 0.1 --rounds 1 \
    --size 16777216 >"$tmp/tables" 2>"$tmp/bench.log" || fail "relay_bench fails"
for row in 'signpost in nbdkit' 'nbdkit nbd plugin' qemu-nbd; do
    [ "$(grep -c "^| $row |" "$tmp/tables")" = 4 ] || fail "no row for $row: $(cat "$tmp/tables")"
done

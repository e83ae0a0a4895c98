#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The gateway benchmark runs and prints its table; here with few disks, its figures mean nothing.
. "$(dirname "$0")/functions.sh"

requires nbdkit
[ -x "$BUILD_DIR/tests/bench/catalog_bench" ] || fail "catalog_bench is not built"
"$PYTHON" -B "$SOURCE_DIR/tests/bench/gateway_bench" --build "$BUILD_DIR" --opens 5 \
    --catalogs 1000,20000 >"$tmp/table" 2>"$tmp/bench.log" || fail "gateway_bench fails"
grep -q '^| 1,000 | .* | 1,005 |$' "$tmp/table" || fail "no row of 1,000: $(cat "$tmp/table")"
grep -q '^| 20,000 | .* | 10,000 |$' "$tmp/table" || fail "no row of 20,000: $(cat "$tmp/table")"

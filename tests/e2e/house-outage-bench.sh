#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The benchmark of a catalog that is frozen runs and prints its tables; here for a moment only, its
# figures mean nothing.
. "$(dirname "$0")/functions.sh"
. "$here/postgres.inc"

"$PYTHON" -B "$SOURCE_DIR/tests/bench/outage_bench" --build "$BUILD_DIR" --opens 5 --rounds 1 \
    --seconds 0.1 >"$tmp/tables" 2>"$tmp/bench.log" || fail "outage_bench fails"
for row in 'what the gateway adds' 'PostgreSQL is frozen' 'a disk of its own'; do
    grep -q "^| $row |" "$tmp/tables" || fail "no row \"$row\": $(cat "$tmp/tables")"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With 100,000 disks the page stays quick: it draws what is seen and asks for what is scrolled to.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"

make_raw "$tmp/repo/own.raw" 1M
"$PYTHON" "$here/many_disks.py" 100000 >"$tmp/catalog.json"
signpost catalog import "$tmp/catalog.json" >"$tmp/import.log" 2>&1 ||
    fail "$(tail -n 3 "$tmp/import.log")"
console_server alpha "$tmp/repo"
wait_published alpha own

browse

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With 100,000 disks in the catalog the console answers page by page, and soon.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"

make_raw "$tmp/repo/own.raw" 4M
"$PYTHON" "$here/many_disks.py" 100000 >"$tmp/catalog.json"
signpost catalog import "$tmp/catalog.json" >"$tmp/import.log" 2>&1 ||
    fail "$(tail -n 3 "$tmp/import.log")"
start_console alpha --repository="$tmp/repo" --uri=nbd://127.0.0.1

# within MS PATH: generous, for a machine that is busy; a walk through all of them takes longer.
within() {
    local start
    start=$(now_ms)
    api "$2" >"$tmp/page"
    [ $(($(now_ms) - start)) -lt "$1" ] || fail "$2 took $(($(now_ms) - start)) ms"
}
within 3000 /api/v1/disks
jq -e '(.disks | length) == 100 and .next != null' "$tmp/page" >/dev/null
within 3000 "/api/v1/disks?find=disk-07777"
jq -e '[.disks[].name] == ["vm/disk-077770", "vm/disk-077771", "vm/disk-077772", "vm/disk-077773",
    "vm/disk-077774", "vm/disk-077775", "vm/disk-077776", "vm/disk-077777", "vm/disk-077778",
    "vm/disk-077779"]' "$tmp/page" >/dev/null || fail "found: $(cat "$tmp/page")"
within 3000 "/api/v1/disks?after=vm/disk-099990&limit=1000"
jq -e '(.disks | length) == 9 and .next == null' "$tmp/page" >/dev/null || fail "$(cat "$tmp/page")"
within 3000 "/api/v1/disk?name=vm/disk-050000"
within 3000 /api/v1/status
jq -e '.disks >= 100000' "$tmp/page" >/dev/null

# They are counted in the background.
counted() {
    api /metrics | has '^signpost_disks_single_copy 10000[01]$'
}
wait_until -t 60 counted

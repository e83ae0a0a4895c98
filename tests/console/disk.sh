#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# From the search box to a disk: where it lies, how old and how healthy; what to paste; its points.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"

make_raw "$tmp/beta/web01/vda.raw" 8M
make_raw "$tmp/beta/db01/vda.raw" 4M
mkdir -p "$tmp/alpha/web01"
cp "$tmp/beta/web01/vda.raw" "$tmp/alpha/web01/vda.raw"
for time in 2026-10-01T02:00 2026-10-02T02:00; do
    make_raw "$tmp/alpha/web01/vda@$time.raw" 4M
done
start_signpostd beta "$tmp/beta"
start_signpostd gamma "$tmp/beta"
console_server alpha "$tmp/alpha"
wait_published alpha web01/vda
wait_published alpha web01/vda@2026-10-02T02:00
wait_published beta db01/vda
wait_published gamma web01/vda
signpost verify web01/vda >"$tmp/verify.log"
kill_server gamma
all_asked() {
    api /api/v1/servers |
        jq -e 'map(.reachable) | (map(select(. == true)) | length) >= 1 and any(. == false)'
}
wait_until -t 60 all_asked

export DISK_URI=nbd://127.0.0.1:${port[alpha]}/web01/vda
browse

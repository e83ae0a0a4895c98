#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Dates in the paths of beta's images are restore points, which alpha relays under DISK@TIME. A bare
# name is the newest; who has it open stays on it when a newer one comes.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo nbdcopy jq
first=$tmp/beta/web01/vda-2026-11-19.raw
second=$tmp/beta/2026-11-20T02-00/web01/vda.raw
third=$tmp/beta/web01/20261121-0200/vda.raw
make_raw "$first" 1M 1
make_raw "$second" 1M 2
start_server alpha
start_server beta "$tmp/beta"
wait_published beta web01/vda@2026-11-19
wait_published beta web01/vda@2026-11-20T02:00

same_bytes "$(disk_uri alpha web01/vda@2026-11-19)" "$first"
same_bytes "$(disk_uri alpha web01/vda@2026-11-20T02:00)" "$second"
same_bytes "$(disk_uri alpha web01/vda)" "$second"
! nbdcopy "$(disk_uri alpha web01/vda@2026-11-20T03)" null: 2>/dev/null ||
    fail "an hour without a point is served"
same_bytes "$(disk_uri alpha web01/vda@20261120)" "$second"
same_bytes "$(disk_uri beta local:web01/vda)" "$second"
nbdinfo --json "$(disk_uri alpha web01/vda)" | jq -r '.exports[].description' |
    has '^newest point web01/vda@2026-11-20T02:00; ' || fail "it is not said which point that is"
nbdinfo --list --json "${uri[alpha]}" | jq -r '.exports[]."export-name"' >"$tmp/listed"
[ "$(grep -c '^web01/vda@' "$tmp/listed")" = 2 ] || fail "the list: $(cat "$tmp/listed")"

# The command knows the same names.
[ "$(signpost where web01/vda --json 2>"$tmp/said" | jq -r .disk)" = web01/vda@2026-11-20T02:00 ] ||
    fail "where: another disk"
has 'web01/vda: its newest point, web01/vda@2026-11-20T02:00' <"$tmp/said" ||
    fail "where does not say which: $(cat "$tmp/said")"
same_bytes "$(signpost uri web01/vda@2026-11 --server alpha 2>/dev/null)" "$second"
status=0
signpost where web01/vda@2026-11-18 2>"$tmp/said" || status=$?
[ "$status" = 3 ] || fail "where of no point: status $status"
has 'oldest point is web01/vda@2026-11-19' <"$tmp/said" || fail "$(cat "$tmp/said")"
signpost ls --points web01/vda --json | jq -e \
    '[.[] | [.name, .disk, .time, .servers, .newest]] == [
        ["web01/vda@2026-11-19", "web01/vda", "2026-11-19T00:00:00Z", ["beta"], false],
        ["web01/vda@2026-11-20T02:00", "web01/vda", "2026-11-20T02:00:00Z", ["beta"], true]]' \
    >/dev/null || fail "ls --points: $(signpost ls --points web01/vda --json)"
signpost info web01/vda --json 2>/dev/null |
    jq -e '.newest_point == "web01/vda@2026-11-20T02:00" and (.points | length) == 2' >/dev/null ||
    fail "info does not list the points"

open_session "$(disk_uri alpha web01/vda)"
expect_read 0 65536 "$second"
make_raw "$third.part" 1M 3
mv "$third.part" "$third"
wait_published beta web01/vda@2026-11-21T02:00
expect_read 65536 131072 "$second"
same_bytes "$(disk_uri alpha web01/vda)" "$third"

# After a restart each is found at once, whatever the scan has seen.
kill_server beta
restart_server beta
same_bytes "$(disk_uri beta local:web01/vda@2026-11-21T02:00)" "$third"
same_bytes "$(disk_uri beta local:web01/vda@2026-11-19)" "$first"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The metrics are what Prometheus takes, and true: clients, bytes, peers, disks, freshness.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
requires promtool

make_raw "$tmp/here/one.raw" 4M
make_raw "$tmp/here/vm/vda@$(date -u +%Y-%m-%dT%H:%M).raw" 1M
make_raw "$tmp/here/old/vda@2020-01-02T03:04.raw" 1M
make_raw "$tmp/there/far.raw" 4M
start_signpostd beta "$tmp/there"
start_console alpha --repository="$tmp/here" --uri=nbd://127.0.0.1:1 --stale-after=3d \
    --cache="$tmp/cache"
for disk in one old/vda@2020-01-02T03:04; do
    wait_published alpha "$disk"
done
wait_published beta far

has_metric() {
    api /metrics >"$tmp/metrics"
    has -E "^signpost_$1" <"$tmp/metrics"
}
expect_metric() {
    has_metric "$1" || fail "no $1 in: $(grep -v '^#' "$tmp/metrics")"
}

alpha=$(free_port_of alpha 127.0.0.1)
nbdcopy "nbd://127.0.0.1:$alpha/one" null:
nbdcopy "nbd://127.0.0.1:$alpha/far" null:
! nbdinfo "nbd://127.0.0.1:$alpha/none" >/dev/null 2>&1 || fail "there is a disk that there is not"
open_session "nbd://127.0.0.1:$alpha/one"
expect_read 0 65536 "$tmp/here/one.raw"

api /metrics | promtool check metrics || fail "promtool does not like the metrics"
expect_metric 'build_info\{version="[0-9.]+",server="alpha"\} 1$'
expect_metric 'catalog_up 1$'
expect_metric 'sessions\{route="local"\} 1$'
expect_metric 'export_opens_total\{route="local",result="ok"\} [1-9]'
expect_metric 'export_opens_total\{route="none",result="not_found"\} [1-9]'
expect_metric 'requests_total\{op="read",route="local",result="ok"\} [1-9]'
expect_metric 'request_duration_seconds_count\{op="read",route="local"\} [1-9]'
expect_metric 'read_bytes_total\{route="local",peer=""\} [1-9][0-9]{5}'
expect_metric 'read_bytes_total\{route="(cache|relay)",peer="beta"\} [1-9][0-9]{5}'
expect_metric 'catalog_lookup_duration_seconds_count [1-9]'
expect_metric 'cache_fetched_bytes_total [1-9]'
expect_metric 'scan_last_success_timestamp_seconds [1-9]'
wait_until has_metric 'peer_up\{peer="beta"\} 1$'
expect_metric 'peer_rtt_seconds\{peer="beta"\} [0-9]'

# Of the disks that have points one is fresh; the other is stale, and the stalest.
wait_until -t 60 has_metric 'disks_stale 1$'
expect_metric "stalest_disk_timestamp_seconds $(date -u -d 2020-01-02T03:04Z +%s)$"
expect_metric 'disks_single_copy [34]$'
expect_metric 'catalog_copies\{server="beta"\} 1$'

# No disk has a series of its own.
api /metrics >"$tmp/metrics"
! grep -v '^#' "$tmp/metrics" | grep -w -E 'one|far|vda' || fail "the metrics name disks"

# What a dead server alone had is told.
kill_server beta
wait_until -t 60 has_metric 'peer_up\{peer="beta"\} 0$'

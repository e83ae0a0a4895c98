#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that is killed, or told to stop, while clients are connected can be started on its port
# again at once, and serves within a second (asserted: 5, for busy machines).
. "$(dirname "$0")/functions.sh"

make_raw "$tmp/repository/a.raw" 4M 1
port[alpha]=$(free_port)
uri[alpha]=nbd://127.0.0.1:${port[alpha]}
spawn_signpostd alpha --repository="$tmp/repository" --listen="127.0.0.1:${port[alpha]}"
for end in kill_server stop_server; do
    open_session "$(disk_uri alpha a)"
    expect_read 0 4096 "$tmp/repository/a.raw"
    "$end" alpha
    start=$(now_ms)
    restart_server alpha
    open_session "$(disk_uri alpha a)"
    expect_read 4096 4096 "$tmp/repository/a.raw"
    took=$(($(now_ms) - start))
    echo "after $end: the first byte $took ms after the start"
    [ "$took" -lt 5000 ] || fail "after $end: the first byte after $took ms"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The only peer is killed and started again under a running client: reads wait for it, none fails.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/beta/vm/disk.raw" 8M 5
start_server beta "$tmp/beta"
start_server alpha
wait_published beta vm/disk

open_session "$(disk_uri alpha vm/disk)"
expect_read 0 65536 "$tmp/beta/vm/disk.raw"
for round in 1 2 3; do
    kill_server beta
    (
        # The read is on its way while the peer is away.
        sleep 0.5
        touch "$tmp/now.$round"
    ) &
    echo "read $((round * 1000000)) 131072" >&"$to_session"
    wait_until test -e "$tmp/now.$round"
    restart_server beta
    read -r -t 20 answer answer_ms answer_data <&"$from_session" || fail "no answer"
    [ "$answer" = ok ] || fail "round $round: $answer after $answer_ms ms"
    [ "$answer_data" = "$(sha256_of "$((round * 1000000))" 131072 "$tmp/beta/vm/disk.raw")" ] ||
        fail "round $round: wrong bytes"
done

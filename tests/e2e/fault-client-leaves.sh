#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients are killed while a relay answers them, again and again: those that stay read on.
#
# nbdkit 1.32 itself aborts when a client vanishes while replies to it are queued by several
# threads; one thread per connection (-t 1) keeps that out of this test of ours.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/beta/other.raw" 16M 2
start_server beta "$tmp/beta"
start_server alpha --threads=1 --
wait_published beta other
open_session "$(disk_uri alpha other)"

for round in {1..8}; do
    nbdcopy "$(disk_uri alpha other)" null: 2>/dev/null &
    client=$!
    sleep "0.0$round"
    kill -KILL "$client" 2>/dev/null || true
    wait "$client" 2>/dev/null || true
    expect_read $((round * 1000000)) 500000 "$tmp/beta/other.raw"
done
kill -0 "${pid[alpha]}" || fail "alpha is gone"
kill -0 "${pid[beta]}" || fail "beta is gone"

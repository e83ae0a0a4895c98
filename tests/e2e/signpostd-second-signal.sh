#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The second SIGTERM ends the server at once, with 0, whatever is under way.
. "$(dirname "$0")/under-way.inc"

kill -TERM "${pid[alpha]}"
wait_until grep -q stopping "$tmp/alpha.log"
kill -0 "${pid[alpha]}" || fail "it did not wait for the read that is under way"
start=$(now_ms)
kill -TERM "${pid[alpha]}"
status=0
wait "${pid[alpha]}" || status=$?
took=$(($(now_ms) - start))
unset "pid[alpha]"
[ "$status" = 0 ] || fail "status $status"
[ "$took" -lt 5000 ] || fail "ended after $took ms"

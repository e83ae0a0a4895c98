#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM: the read that is under way is finished, idle clients and new ones are turned away, and
# the server ends with 0.
. "$(dirname "$0")/under-way.inc"

kill -TERM "${pid[alpha]}"
wait_until grep -q stopping "$tmp/alpha.log"
wait_until refuses_clients
kill -CONT "${pid[beta]}"
start=$(now_ms)
wait "$client" || fail "the read that was under way was not finished"
status=0
wait "${pid[alpha]}" || status=$?
took=$(($(now_ms) - start))
unset "pid[alpha]"
[ "$status" = 0 ] || fail "status $status"
[ "$took" -lt 10000 ] || fail "ended after $took ms"

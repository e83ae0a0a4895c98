#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A foreign server that hangs, or is not there, gives exit 4 within seconds and leaves no row.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
start_nbdkit vault memory 1M
signpost catalog init

expect_unreachable() {
    local start status=0
    start=$(now_ms)
    signpost servers add vault "$1" --foreign 2>"$tmp/err" || status=$?
    [ "$status" = 4 ] || fail "$1: status $status: $(cat "$tmp/err")"
    [ $(($(now_ms) - start)) -lt 6000 ] || fail "$1: took $(($(now_ms) - start)) ms"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "$1: not one line: $(cat "$tmp/err")"
    [ "$(signpost servers --json | jq length)" = 0 ] || fail "$1: a server is registered"
}

kill -STOP "${pid[vault]}"
expect_unreachable "${uri[vault]}"
kill -CONT "${pid[vault]}"
stop_server vault
expect_unreachable "${uri[vault]}"
expect_unreachable "nbd+unix:///?socket=$tmp/missing.sock"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client that chooses a disk of a server that is gone, or hangs, is told so in a sentence within
# seconds; information about the disk is to be had all the same, and the disk when the server is
# back.
. "$(dirname "$0")/access.inc"

make_raw "$tmp/beta/web01/vda.raw" 8M 1
start_server beta "$tmp/beta"
start_server alpha
wait_published beta web01/vda
vda=$(disk_uri alpha web01/vda)

# expect_sentence WORDS: what GO is answered says so, and that soon.
expect_sentence() {
    local start said
    start=$(now_ms)
    said=$(refusal "$vda")
    [ $(($(now_ms) - start)) -lt 4500 ] || fail "it took $(($(now_ms) - start)) ms"
    grep -q "$1" <<<"$said" || fail "the refusal does not say '$1': $said"
}

kill_server beta
expect_sentence 'is on beta, which has not answered for [0-9]* s: '
nbdinfo --list "$(disk_uri alpha '')" | has web01/vda || fail "the list has lost the disk"
restart_server beta
same_bytes "$vda" "$tmp/beta/web01/vda.raw"

kill -STOP "${pid[beta]}"
start_server gamma
vda=$(disk_uri gamma web01/vda)
expect_sentence 'is on beta, which has not answered for [0-9]* s'
kill -CONT "${pid[beta]}"
same_bytes "$vda" "$tmp/beta/web01/vda.raw"

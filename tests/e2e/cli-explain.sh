#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# explain says which way a server takes to a disk, and why: own image, the order of the others, who
# stands in for whom, who is passed over; with --check who answers.
. "$(dirname "$0")/stubs.inc"

requires nbdkit
for server in alpha beta gamma; do
    make_raw "$tmp/$server/same.raw" 1M 1
    site=south
    [ "$server" != gamma ] || site=north
    start_server "$server" "$tmp/$server" "site=$site"
done
mkdir "$tmp/none"
start_server gate "$tmp/none" site=north
for server in alpha beta gamma; do
    wait_published "$server" same
done

explained() {
    signpost explain same --server "$1" --json | jq -er "$2"
}
[ "$(explained alpha .result)" = "alpha serves its own image; no other server is asked" ] ||
    fail "$(explained alpha .result)"
explained gate .result | has 'gate relays it from gamma; nobody can take over .*not proven equal' ||
    fail "$(explained gate .result)"
explained gate '[.steps[].server] | (sort == ["alpha", "beta", "gamma"]) and .[0] == "gamma"' \
    >/dev/null || fail "the order is $(explained gate '[.steps[].server]')"
signpost verify same >/dev/null
explained gate '.steps[0].same_site and ([.steps[].stands_in] == [false, true, true])' >/dev/null ||
    fail "$(signpost explain same --server gate)"
signpost explain same --server gate | has 'gate relays it from gamma; 2 other servers can take' ||
    fail "$(signpost explain same --server gate)"
wait_known gate same
wait_until explained gate .stubs.agree

signpost explain same --server gate --check >/dev/null
stop_server beta
status=0
signpost explain same --server gate --check >"$tmp/said" || status=$?
[ "$status" = 6 ] || fail "exit status $status with a server down"
status=0
signpost explain nothing --server gate >/dev/null || status=$?
[ "$status" = 3 ] || fail "exit status $status for a disk that is not there"

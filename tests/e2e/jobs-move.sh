#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `signpost move` while clients read the disk at four servers: at the one that gives it up, at the
# one that gets it, at one that has nothing, and at one that checks what it relays. Every read is
# right, and none fails.
. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/bit-rot.inc"

requires nbdkit jq
mkdir -p "$tmp/alpha" "$tmp/beta"
make_raw "$tmp/image.raw" 48M 11
mkdir "$tmp/alpha/db"
cp --sparse=always "$tmp/image.raw" "$tmp/alpha/db/main.raw"
start_server alpha "$tmp/alpha" digest-rate=1G
start_server beta "$tmp/beta" digest-rate=1G
start_server gamma
start_server delta verify=require
wait_until has_digest alpha db/main

mkfifo "$tmp/stop"
"$PYTHON" -B "$here/read_checker.py" "$tmp/image.raw" "$(disk_uri alpha db/main)" \
    "$(disk_uri beta db/main)" "$(disk_uri gamma db/main)" "$(disk_uri delta db/main)" \
    <"$tmp/stop" >"$tmp/checker.log" 2>&1 &
checker=$!
exec {stop}>"$tmp/stop"
signpost move db/main --to beta --rate 24M | has 'moved to beta'
exec {stop}>&-
wait "$checker" || fail "a client noticed: $(tail -n 5 "$tmp/checker.log")"
cat "$tmp/checker.log"

cmp "$tmp/image.raw" "$tmp/beta/db/main.raw"
[ ! -e "$tmp/alpha/db/main.raw" ] || fail "alpha still has its image"
signpost where db/main --json | jq -e '[.locations[].server] == ["beta"]' || fail "not only at beta"
same_bytes "$tmp/image.raw" "$(disk_uri alpha db/main)"

# There and back again, the source being named.
signpost move db/main --from beta --to alpha --json | jq -e '.state == "done"'
cmp "$tmp/image.raw" "$tmp/alpha/db/main.raw"
[ ! -e "$tmp/beta/db/main.raw" ] || fail "beta still has its image"

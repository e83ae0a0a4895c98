#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `signpost move` while clients read the disk at three servers: at the one that gives it up, at the
# one that gets it, and at one that has nothing. Every read is right, and none fails.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
mkdir -p "$tmp/alpha" "$tmp/beta"
make_raw "$tmp/image.raw" 48M 11
mkdir "$tmp/alpha/db"
cp --sparse=always "$tmp/image.raw" "$tmp/alpha/db/main.raw"
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
start_server gamma
wait_published alpha db/main

mkfifo "$tmp/stop"
"$PYTHON" -B "$here/read_checker.py" "$tmp/image.raw" "$(disk_uri alpha db/main)" \
    "$(disk_uri beta db/main)" "$(disk_uri gamma db/main)" <"$tmp/stop" >"$tmp/checker.log" 2>&1 &
checker=$!
exec {stop}>"$tmp/stop"
signpost move db/main --to beta --rate 24M | has 'moved to beta'
sleep 1 # the clients go on for a while
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

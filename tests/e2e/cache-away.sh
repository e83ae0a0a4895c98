#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a server has in its cache outlives the server that it came from: the disk opens, is read
# whole, and says where it is zero, also after a restart and without the catalog. What is not there
# is an error in time, and what was kept of an older generation is not served.
. "$(dirname "$0")/cache.inc"

mkdir "$tmp/catalog"
catalog=$tmp/catalog/catalog.db
make_raw "$tmp/beta/part.raw" 24M 2
cached_disk 24M 1 peer-timeout=3
wait_published beta part
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
wait_until caches_at_least 25165824
open_session "$(disk_uri gateway part)"
expect_read 5000000 1000000 "$tmp/beta/part.raw"
close_session
wait_until caches_at_least $((25165824 + 1000000))
stop_server gateway
kill_server beta

restart_server gateway
same_bytes "$tmp/beta/vda.raw" "$(disk_uri gateway vda)"
grep -q "disk 'vda' is served from the cache, which has all of its 24 MiB" "$tmp/gateway.log" ||
    fail "it was not said"
nbdinfo --map --totals "$(disk_uri gateway vda)" | has 'hole,zero' || fail "nothing is zero"
open_session "$(disk_uri gateway part)"
expect_read 5000000 1000000 "$tmp/beta/part.raw"
ask read 20000000 4096
[ "$answer" = EIO ] || fail "what is nowhere: $answer"
[ "$answer_ms" -lt 6000 ] || fail "it took $answer_ms ms"
close_session

# The catalog was at that site, too: what the server remembers of it will do.
stop_server gateway
mv "$tmp/catalog" "$tmp/away"
restart_server gateway
same_bytes "$tmp/beta/vda.raw" "$(disk_uri gateway vda)"
stop_server gateway
mv "$tmp/away" "$tmp/catalog"

# Another generation, of which nothing was read here.
make_raw "$tmp/beta/new.raw" 24M 3
mv "$tmp/beta/new.raw" "$tmp/beta/vda.raw"
generation() {
    signpost where vda --json | jq .locations[0].generation
}
before=$(generation)
restart_server beta
changed() {
    [ "$(generation)" -gt "$before" ]
}
wait_until changed
kill_server beta
restart_server gateway
cannot_read "$(disk_uri gateway vda)" 15000

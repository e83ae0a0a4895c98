#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog has a disk's digest, but no server has computed those of its chunks: verify=require
# refuses the disk, verify=relay serves it and says so, and checks it from when they are there.
. "$(dirname "$0")/functions.sh"

requires nbdcopy
make_raw "$tmp/a/vda.raw" 9M 1
mkdir "$tmp/none"
start_server alpha "$tmp/a"
wait_published alpha vda
signpost verify vda

start_server strict "$tmp/none" verify=require peer-timeout=2
cannot_read "$(disk_uri strict vda)" 4000
wait_until grep "disk 'vda' cannot be checked, so it is not served" "$tmp/strict.log"

start_server gateway "$tmp/none" verify=relay
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
cmp "$tmp/a/vda.raw" "$tmp/read.raw" || fail "a wrong byte"
open_session "$(disk_uri gateway vda)"
[ "$answer" = ok ] || fail "$answer"
expect_read 0 1000000 "$tmp/a/vda.raw"
wait_until grep "disk 'vda': not checked: no server gives chunk digests" "$tmp/gateway.log"

stop_server alpha
start_server alpha "$tmp/a" digest-rate=1G
wait_until grep "disk 'vda': checked from now on" "$tmp/gateway.log"
expect_read 0 9437184 "$tmp/a/vda.raw"

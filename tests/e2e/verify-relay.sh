#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A bit flips in one of three copies while a client reads through a relay that checks: the client
# sees good bytes only, the copy becomes damaged in the catalog, and one line says so.
. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/bit-rot.inc"

requires nbdcopy jq
rotting_directory
make_raw "$rotting/a/vda.raw" 24M 1
for name in b c; do
    mkdir "$tmp/$name"
    cp "$rotting/a/vda.raw" "$tmp/$name/vda.raw"
done
cp "$rotting/a/vda.raw" "$tmp/good.raw"
will_rot "$rotting/a/vda.raw"
start_server alpha "$rotting/a" digest-rate=1G priority=1
start_server beta "$tmp/b" digest-rate=1G
start_server gamma "$tmp/c" digest-rate=1G
for name in alpha beta gamma; do
    wait_until has_digest $name vda
done
mkdir "$tmp/none"
start_server gateway "$tmp/none" verify=require
open_session "$(disk_uri gateway vda)"
[ "$answer" = ok ] || fail "$answer"
expect_read 0 1000000 "$tmp/good.raw"

rot 17000000
expect_read 16900000 200000 "$tmp/good.raw"
wait_until is_in_state damaged alpha vda
nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
cmp "$tmp/good.raw" "$tmp/read.raw" || fail "a wrong byte"
[ "$(grep -c 'server alpha gave wrong bytes in 16777216 to 20971520' "$tmp/gateway.log")" = 1 ] ||
    fail "not one line about it"
expect_read 0 25165824 "$tmp/good.raw"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A write through alpha reaches beta's image; what was flushed is there after kill -9 of both.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/beta/a.raw" 4M 1
start_server beta writable=true "$tmp/beta"
start_server alpha writable=true
wait_published beta a
cp "$tmp/beta/a.raw" "$tmp/expected.raw"
head -c 65536 /dev/zero | tr '\0' '\101' |
    dd of="$tmp/expected.raw" bs=64K seek=5 conv=notrunc status=none
open_session "$(disk_uri alpha a)"
ask write 327680 65536 65
[ "$answer" = ok ] || fail "write: $answer"
ask flush
[ "$answer" = ok ] || fail "flush: $answer"
expect_read 327680 65536 "$tmp/expected.raw"
kill_server alpha
kill_server beta
cmp "$tmp/beta/a.raw" "$tmp/expected.raw" || fail "beta's image lacks a flushed write"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Under the cache filter a relayed disk has the same bytes, and the second reading does not need the
# peer: it is stopped meanwhile.
. "$(dirname "$0")/functions.sh"

requires nbdkit
requires_nbdkit filter cache
requires_nbdkit filter exportname
make_raw "$tmp/beta/a.raw" 4M 1
start_server beta "$tmp/beta"
start_server alpha --filter=cache --filter=exportname -- cache-on-read=true \
    exportname=a exportname-strict=true
wait_published beta a
open_session "$(disk_uri alpha a)"
expect_read 0 4194304 "$tmp/beta/a.raw"
kill -STOP "${pid[beta]}"
expect_read 1048576 65536 "$tmp/beta/a.raw"
[ "$answer_ms" -lt 1000 ] || fail "the cached read took $answer_ms ms"

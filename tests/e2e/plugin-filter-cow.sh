#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Under the cow filter a client writes to a read-only disk relayed from beta, whose image stays as
# it was. Limited to one disk, as the manual says: the filter has one overlay for all.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo
requires_nbdkit filter cow
requires_nbdkit filter exportname
make_raw "$tmp/beta/a.raw" 4M 1
make_raw "$tmp/beta/b.raw" 4M 2
cp "$tmp/beta/a.raw" "$tmp/before.raw"
start_server beta "$tmp/beta"
start_server alpha --filter=cow --filter=exportname -- \
    exportname=a exportname-strict=true exportname-list=explicit
wait_published beta a
wait_published beta b
if nbdinfo --size "$(disk_uri alpha b)" 2>/dev/null; then
    fail "another disk under the same overlay"
fi
open_session "$(disk_uri alpha a)"
ask write 65536 65536 90
[ "$answer" = ok ] || fail "write: $answer"
ask read 65536 65536
[ "$answer_data" = "$(head -c 65536 /dev/zero | tr '\0' '\132' | sha256sum | cut -d ' ' -f 1)" ] ||
    fail "what was written does not come back"
expect_read 131072 65536 "$tmp/before.raw"
cmp "$tmp/beta/a.raw" "$tmp/before.raw" || fail "the image has changed"

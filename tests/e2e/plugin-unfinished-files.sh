#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Files still being written - by their name, or because they grow - are not published until they
# are complete.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/repository/whole.raw" 1M
make_raw "$tmp/repository/named.raw.part" 1M
make_raw "$tmp/repository/other.tmp" 1M
start_server alpha "$tmp/repository"
(
    while [ ! -e "$tmp/enough" ]; do
        head -c 65536 /dev/zero >>"$tmp/repository/growing.raw"
        sleep 0.1
    done
) &
writer=$!
wait_published alpha whole
! is_published alpha named || fail "a .part file is published"
for _ in 1 2 3 4 5 6; do
    ! is_published alpha growing || fail "a growing file is published"
    sleep 0.5
done
touch "$tmp/enough"
wait "$writer"
wait_published alpha growing
size=$(signpost info growing --json | jq .size)
[ "$size" = "$(stat -c %s "$tmp/repository/growing.raw")" ] || fail "published size: $size"
mv "$tmp/repository/named.raw.part" "$tmp/repository/named.raw"
wait_published alpha named

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A cache that is smaller than the disk stays within its size, whatever is read, and all reads are
# right.
. "$(dirname "$0")/cache.inc"

make_raw "$tmp/beta/vda.raw" 256M 4
start_server beta "$tmp/beta"
wait_published beta vda
start_gateway cache-size=64M
for _ in 1 2; do
    nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
    cmp "$tmp/beta/vda.raw" "$tmp/read.raw" || fail "a wrong byte"
    taken=$(du --block-size=1 --total "$tmp"/cache/*.blocks | tail -n 1 | cut -f 1)
    [ "$taken" -le $((66 << 20)) ] || fail "the cache takes $taken bytes"
done

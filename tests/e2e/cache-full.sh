#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The file system of a cache is full: the server says so once, keeps what it has, and goes on to
# serve.
. "$(dirname "$0")/cache.inc"

mount_tmpfs "$tmp/cache" 12m
chmod 700 "$tmp/cache"
cached_disk 48M 3
for _ in 1 2; do
    nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw"
    cmp "$tmp/beta/vda.raw" "$tmp/read.raw" || fail "a wrong byte"
done
grep -q "cache $tmp/cache: nothing more is kept for now: No space left" "$tmp/gateway.log" ||
    fail "it was not said"
[ "$(grep -c 'nothing more is kept' "$tmp/gateway.log")" -le 2 ] || fail "it was said too often"

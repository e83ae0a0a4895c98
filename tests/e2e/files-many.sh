#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A directory so large that its index has inner nodes is listed with the names that it has: what
# lies in these nodes is none.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext4 e2fsck cmp

mkdir -p "$tmp/tree/many" "$tmp/repository"
(cd "$tmp/tree/many" && seq --format='message-%06.0f.eml' 8000 | tee "$tmp/names" | xargs touch)
mkfs.ext4 -q -b 1024 -N 16000 -d "$tmp/tree" -U 6f1c2a52-7d3b-4e0e-9a51-0d0c5b1f7e11 \
    -E hash_seed=6f1c2a52-7d3b-4e0e-9a51-0d0c5b1f7e11 "$tmp/disk.new" 32M >"$tmp/mkfs.out" 2>&1
e2fsck -fyD "$tmp/disk.new" >"$tmp/fsck.out" 2>&1 || [ $? = 1 ] || fail "$(cat "$tmp/fsck.out")"
mv "$tmp/disk.new" "$tmp/repository/disk.raw"
start_relay "$tmp/repository"
wait_published alpha disk
files ls disk:/many | cmp - "$tmp/names"

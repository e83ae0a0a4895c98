#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A relayed disk as a file, with nbdfuse.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdfuse fusermount3 mountpoint
requires_fuse
make_raw "$tmp/beta/a.raw" 8M 1
start_server beta "$tmp/beta"
start_server alpha
wait_published beta a
mkdir "$tmp/mnt"
nbdfuse -r "$tmp/mnt" "$(disk_uri alpha a)" &
cleanup_fn fusermount3 -u "$tmp/mnt"
wait_until mountpoint -q "$tmp/mnt"
cmp "$tmp/mnt/nbd" "$tmp/beta/a.raw"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A replica's server answers reads with EIO (a disk going bad): the other replica is asked, and the
# client sees the right bytes and no error.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
requires_nbdkit filter error
make_raw "$tmp/beta/vm/disk.raw" 8M 5
mkdir -p "$tmp/gamma/vm"
cp "$tmp/beta/vm/disk.raw" "$tmp/gamma/vm/disk.raw"
bad_disk=(--filter=error --)
start_server beta "${bad_disk[@]}" "$tmp/beta" error-pread=EIO error-pread-rate=50% \
    error-pread-file="$tmp/beta.bad"
start_server gamma "${bad_disk[@]}" "$tmp/gamma" error-pread=EIO error-pread-rate=50% \
    error-pread-file="$tmp/gamma.bad"
start_server alpha
wait_published beta vm/disk
wait_published gamma vm/disk
signpost verify vm/disk

open_session "$(disk_uri alpha vm/disk)"
# One after the other, so that it does not matter which of them alpha prefers.
for bad in beta gamma; do
    touch "$tmp/$bad.bad"
    for offset in 0 1 2 3 4 5 6 7; do
        expect_read $((offset * 1048576)) 1048576 "$tmp/beta/vm/disk.raw"
    done
    rm "$tmp/$bad.bad"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# writable=true: a flushed write survives kill -9, in a raw and in a qcow2 image.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy qemu-img qemu-nbd
make_raw "$tmp/repository/a.raw" 4M 1
make_qcow2 "$tmp/repository/b.qcow2" 4M 1
start_server alpha writable=true "$tmp/repository"
cp "$tmp/repository/a.raw" "$tmp/expected.raw"
head -c 131072 /dev/zero | tr '\0' '\132' |
    dd of="$tmp/expected.raw" bs=64K seek=3 conv=notrunc status=none
for disk in a b; do
    open_session "$(disk_uri alpha "$disk")"
    ask write 196608 131072 90
    [ "$answer" = ok ] || fail "write to $disk: $answer"
    ask flush
    [ "$answer" = ok ] || fail "flush of $disk: $answer"
done
kill_server alpha
cmp "$tmp/repository/a.raw" "$tmp/expected.raw" || fail "the raw image has lost a flushed write"
restart_server alpha
same_bytes "$(disk_uri alpha b)" "$tmp/expected.raw"

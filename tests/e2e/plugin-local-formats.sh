#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Images of every format show the bytes of the disk, not those of the file.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy qemu-img qemu-nbd
make_raw "$tmp/source.raw" 8M 3
mkdir "$tmp/repository"
for format in qcow2 vmdk vhdx vdi vpc; do
    qemu-img convert -O "$format" "$tmp/source.raw" "$tmp/repository/as-$format.$format"
done
start_server alpha "$tmp/repository"
for format in qcow2 vmdk vhdx vdi vpc; do
    disk=$(disk_uri alpha "as-$format")
    nbdcopy "$disk" "$tmp/copy.raw" || fail "cannot copy $format"
    # vpc rounds a disk up to whole cylinders.
    cmp -n $((8 * 1024 * 1024)) "$tmp/copy.raw" "$tmp/source.raw" || fail "$format differs"
done

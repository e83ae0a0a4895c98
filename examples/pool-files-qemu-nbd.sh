#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Makes a volume a block device with partitions, /dev/nbd0p1 and on, where the kernel has the module
# nbd. With what a machine has written into it; nothing more is written.
#
#   examples/pool-files-qemu-nbd.sh VOLUME [DEVICE]
#   examples/pool-files-qemu-nbd.sh web01%2Fvda.qcow2 /dev/nbd0

set -eu -o pipefail
[ $# = 1 ] || [ $# = 2 ] || { echo "usage: $0 VOLUME [DEVICE]" >&2; exit 2; }
device=${2:-/dev/nbd0}
modprobe nbd max_part=16 2>/dev/null || true
[ -b "$device" ] || { echo "$0: this kernel has no nbd: use pool-files-nbdfuse.sh" >&2; exit 1; }

volume=$(virsh vol-path "$1" --pool "${POOL:-signpost}")
qemu-nbd --read-only --format=qcow2 --connect="$device" "$volume"

lsblk "$device"
echo "read files:   mount -o ro ${device}p1 /mnt"
echo "end it:       umount /mnt; qemu-nbd --disconnect $device"

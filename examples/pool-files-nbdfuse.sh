#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Shows the disk behind a volume as a file, DIRECTORY/nbd, until the directory is unmounted: for
# programs that want a file, on machines whose kernel has no NBD.
#
#   examples/pool-files-nbdfuse.sh VOLUME DIRECTORY
#   examples/pool-files-nbdfuse.sh web01%2Fvda.qcow2 /tmp/web01
#
# What a machine has written into the volume is not in it.

set -eu -o pipefail
[ $# = 2 ] || { echo "usage: $0 VOLUME DIRECTORY" >&2; exit 2; }

volume=$(virsh vol-path "$1" --pool "${POOL:-signpost}")
disk=$(qemu-img info --force-share --output=json "$volume" | jq -er '."backing-filename"')
mkdir -p "$2"
rm -f "$2.pid"
nbdfuse --readonly --pidfile "$2.pid" "$2" "$disk" &
until [ -s "$2.pid" ]; do
    kill -0 $! || exit 1
    sleep 0.1
done

echo "a file of a file system:   debugfs -R 'cat /etc/fstab' $2/nbd"
echo "mount its partitions:      mount -o ro,loop,offset=BYTES $2/nbd /mnt   (fdisk -l $2/nbd)"
echo "end it:                    fusermount3 -u $2"

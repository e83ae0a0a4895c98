#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Gives a running machine the disk of a backup, to copy files from: at once, read-only, wherever the
# disk lies.
#
#   examples/pool-attach-files.sh VM DISK
#   examples/pool-attach-files.sh rescue web01/vda
#
# In the machine: `mount -o ro /dev/vdb1 /mnt`, copy, `umount /mnt`.

set -eu -o pipefail
[ $# = 2 ] || { echo "usage: $0 VM DISK" >&2; exit 2; }
signpost_pool=${SIGNPOST_POOL:-signpost-pool}

"$signpost_pool" attach "$1" "$2" --readonly
virsh domblklist "$1"
echo "take it away again:   virsh detach-disk $1 TARGET --persistent"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads files out of a volume with guestfish, which knows partitions, LVM and what guests are made
# of, and needs no root. Nothing is written to the volume.
#
#   examples/pool-files-guestfish.sh VOLUME ARGUMENT…
#   examples/pool-files-guestfish.sh web01%2Fvda.qcow2 -i cat /etc/fstab
#   examples/pool-files-guestfish.sh db01%2Fdata.qcow2 -m /dev/sda1 tar-out /srv srv.tar
#
# Where KVM does not work, LIBGUESTFS_BACKEND_SETTINGS=force_tcg emulates.

set -eu -o pipefail
[ $# -ge 2 ] || { echo "usage: $0 VOLUME ARGUMENT..." >&2; exit 2; }
export LIBGUESTFS_BACKEND=${LIBGUESTFS_BACKEND:-direct}

volume=$(virsh vol-path "$1" --pool "${POOL:-signpost}")
shift
exec guestfish --ro --format=qcow2 --add "$volume" "$@"

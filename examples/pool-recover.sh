#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Brings a machine back that was lost with its host, from disks that other servers hold: it runs
# within seconds, reads what it needs from there, and is copied home meanwhile. What it writes goes
# into volumes of its own; the disks stay as they are.
#
#   examples/pool-recover.sh VM XML DISK…
#   examples/pool-recover.sh web01 /backup/web01.xml web01/vda web01/vdb
#
# XML is what `virsh dumpxml` said of the machine once; the disks are named in its order. Whatever
# ends this script, run it again: it goes on where it was.

set -eu -o pipefail
[ $# -ge 3 ] || { echo "usage: $0 VM XML DISK..." >&2; exit 2; }
signpost_pool=${SIGNPOST_POOL:-signpost-pool}
machine=$1 xml=$2
shift 2

"$signpost_pool" recover "$@" --name "$machine" --xml "$xml"
virsh domblklist "$machine"
"$signpost_pool" hydrate "$machine"
echo "$machine needs no other server any more"

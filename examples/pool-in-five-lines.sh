#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every disk of the federation in virsh, virt-manager and Cockpit: a storage pool with a volume for
# each, through the signpostd of this machine. Run it again, or `signpost-pool sync`, when disks
# come and go; `signpost-pool watch` does so by itself.
#
#   examples/pool-in-five-lines.sh [NBD-URI]
#   examples/pool-in-five-lines.sh nbd://127.0.0.1:10809

set -eu -o pipefail
[ $# -le 1 ] || { echo "usage: $0 [NBD-URI]" >&2; exit 2; }
signpost_pool=${SIGNPOST_POOL:-signpost-pool}

"$signpost_pool" define ${1:+--via "$1"}
"$signpost_pool" status
virsh pool-info signpost
virsh vol-list signpost --details
echo "give a machine a disk:   signpost-pool attach VM DISK"

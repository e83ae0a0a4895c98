#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Boots a backup at once, from wherever it is, and leaves it as it is: what the guest writes goes to
# a temporary file of nbdkit's, which ends with it.
#
#   examples/writable-boot-with-cow.sh CATALOG DISK [COMMAND]
#
# COMMAND gets the disk as $uri; the default boots it with QEMU.

set -eu -o pipefail
[ $# = 2 ] || [ $# = 3 ] || { echo "usage: $0 CATALOG DISK [COMMAND]" >&2; exit 2; }
plugin=${PLUGIN:-signpost} # installed; or the path of nbdkit-signpost-plugin.so
# shellcheck disable=SC2016 # $uri is nbdkit's
boot='qemu-system-x86_64 -m 2G -drive "file=$uri,format=raw,if=virtio"'

exec nbdkit --unix - --exportname "$2" --filter=cow "$plugin" catalog="$1" server=boot \
    --run "${3:-$boot}"

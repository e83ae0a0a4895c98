#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# guestfish reads a file out of a volume, whose disk another server holds, and changes nothing, as
# examples/pool-files-guestfish.sh has it.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor
requires guestfish mke2fs

mkdir -p "$tmp/b" "$tmp/files"
echo "hello from web01" >"$tmp/files/motd"
mke2fs -q -t ext4 -d "$tmp/files" "$tmp/b/web01.raw" 32M 2>"$tmp/mke2fs.log"
start_server alpha
start_server beta "$tmp/b"
wait_until catalog_has web01
pool define --via "${uri[alpha]}" >/dev/null

# Its appliance is built for the test, and emulated: where KVM is half there, it would hang.
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg
export LIBGUESTFS_CACHEDIR=$tmp TMPDIR=$tmp HOME=$tmp
"$SOURCE_DIR/examples/pool-files-guestfish.sh" web01.qcow2 --mount /dev/sda cat /motd \
    >"$tmp/motd" 2>"$tmp/guestfish.log"
says "$tmp/motd" "hello from web01"
pool status | has "1 pristine" || fail "reading has changed the volume"

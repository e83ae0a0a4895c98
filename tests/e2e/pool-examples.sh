#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each script of examples/pool-* does what it says. (pool-guestfish.sh has the one that takes long.)
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor
requires debugfs jq mke2fs nbdfuse qemu-nbd
requires_fuse

mkdir -p "$tmp/b/web01" "$tmp/files"
echo "hello from web01" >"$tmp/files/motd"
mke2fs -q -t ext4 -d "$tmp/files" "$tmp/b/web01/vda.raw" 32M 2>"$tmp/mke2fs.log"
make_raw "$tmp/b/data.raw" 2M
start_server alpha
start_server beta "$tmp/b"
wait_until catalog_has data web01/vda
export SIGNPOST_POOL SIGNPOST_CATALOG=sqlite:$catalog
played=(pool-files-guestfish.sh)
example() {
    played+=("$1")
    "$SOURCE_DIR/examples/$1" "${@:2}" >"$tmp/out" 2>"$tmp/example.log"
}
works() {
    example "$@" || fail "$1: $(cat "$tmp/example.log")"
}

works pool-in-five-lines.sh "${uri[alpha]}"
says "$tmp/out" "2 created" "2 pristine" "web01%2Fvda.qcow2"

lost_machine web01 >"$tmp/web01.xml"
works pool-recover.sh web01 "$tmp/web01.xml" web01/vda
says "$tmp/out" "web01~vda.qcow2" "web01 needs no other server any more"
! qemu-img info -U "$pool_path/web01~vda.qcow2" | has backing || fail "web01 is not at home"

tiny_machine rescue >"$tmp/rescue.xml"
virsh define "$tmp/rescue.xml" >/dev/null
virsh start rescue >/dev/null
works pool-attach-files.sh rescue web01/vda
says "$tmp/out" "web01%2Fvda.qcow2"

works pool-files-nbdfuse.sh web01%2Fvda.qcow2 "$tmp/mounted"
cleanup_fn fusermount3 -u "$tmp/mounted"
debugfs -R 'cat motd' "$tmp/mounted/nbd" 2>/dev/null | has "hello from web01" ||
    fail "the file is not there"

if modprobe nbd 2>/dev/null && [ -b /dev/nbd15 ]; then
    cleanup_fn qemu-nbd --disconnect /dev/nbd15
    works pool-files-qemu-nbd.sh data.qcow2 /dev/nbd15
    cmp /dev/nbd15 "$tmp/b/data.raw"
else
    ! example pool-files-qemu-nbd.sh data.qcow2 || fail "there is no such device"
    says "$tmp/example.log" "no nbd" "pool-files-nbdfuse.sh"
fi

for script in "$SOURCE_DIR"/examples/pool-*.sh; do
    [[ " ${played[*]} " == *" ${script##*/} "* ]] || fail "no test runs examples/${script##*/}"
done

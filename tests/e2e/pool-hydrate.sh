#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU dies after it has copied a disk home, and before it has flushed what it knows of the copy:
# the machine starts from its server's disk again, and nothing is missing in the end.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

mkdir -p "$tmp/a" "$tmp/b/web01"
head -c 33554432 /dev/urandom >"$tmp/b/web01/vda.raw"
start_server alpha "$tmp/a"
start_server beta "$tmp/b"
wait_until catalog_has web01/vda
pool define --via "${uri[alpha]}" >/dev/null
lost_machine web01 >"$tmp/web01.xml"
pool recover web01/vda --name web01 --xml "$tmp/web01.xml" 2>/dev/null
volume=$pool_path/web01~vda.qcow2

no_job() {
    virsh blockjob web01 vda 2>&1 | has 'No current block job'
}
is_off() {
    [ "$(virsh domstate web01)" = "shut off" ]
}
has_job() {
    ! no_job
}

pool_begins hydrate web01 --rate 1 2>/dev/null
wait_until has_job
kill -KILL "$tool"
wait "$tool" 2>/dev/null || true
virsh blockjob web01 vda --bandwidth 0 >/dev/null
wait_until no_job
kill -KILL "$(cat /run/libvirt/qemu/web01.pid)"
wait_until is_off
! qemu-img info "$volume" | has backing || fail "the copying had not ended"

virsh start web01 >/dev/null
virsh dumpxml web01 | has "protocol='nbd'" || fail "it starts without what lay behind its disk"
pool hydrate web01 2>"$tmp/out"
says "$tmp/out" "web01 needs no server any more"
virsh dumpxml web01 --inactive >"$tmp/out"
says "$tmp/out" "<source file='$volume'/>"
! grep -q nbd "$tmp/out" || fail "it would ask a server the next time"

# And so when QEMU dies right behind the command.
kill -KILL "$(cat /run/libvirt/qemu/web01.pid)"
wait_until is_off
stop_server alpha beta
qemu-img compare -q -f qcow2 -F raw "$volume" "$tmp/b/web01/vda.raw" ||
    fail "the volume is not the disk"
virsh start web01 >/dev/null

# A disk that a machine has only until it is off comes home, and its next start stays as it is.
restart_server beta
restart_server alpha
tiny_machine vm >"$tmp/vm.xml"
virsh define "$tmp/vm.xml" >/dev/null
virsh start vm >/dev/null
pool attach vm web01/vda
virsh detach-disk vm vda --config >/dev/null
pool hydrate vm 2>"$tmp/out"
says "$tmp/out" "vm needs no server any more"
! virsh dumpxml vm --inactive | has '<disk' || fail "it has a disk at its next start again"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A running machine gets a disk of another server: by `attach`, and by virsh's own verbs. A volume
# belongs to one machine, and a machine's volume is left alone when its disk goes.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

mkdir -p "$tmp/a" "$tmp/b"
truncate -s 2M "$tmp/b/one.raw" "$tmp/b/two.raw" "$tmp/b/three.raw"
start_server alpha "$tmp/a"
start_server beta "$tmp/b"
wait_until catalog_has one three two
pool define --via "${uri[alpha]}" >"$tmp/out"
says "$tmp/out" "3 created"

for name in vm other; do
    tiny_machine "$name" >"$tmp/$name.xml"
    virsh define "$tmp/$name.xml" >/dev/null
done
virsh start vm >/dev/null
tiny_machine passing >"$tmp/passing.xml"
virsh create "$tmp/passing.xml" >/dev/null # libvirt forgets it when it is off
pool attach passing three --readonly
virsh destroy passing >/dev/null

pool attach vm one --readonly
virsh domblklist vm >"$tmp/out"
says "$tmp/out" "vda" "$pool_path/one.qcow2"
virsh dumpxml vm >"$tmp/out"
says "$tmp/out" "error_policy='stop' rerror_policy='stop'" "<readonly/>" "port='${port[alpha]}'"

status=0
pool attach other one 2>"$tmp/out" || status=$?
[ "$status" = 8 ] || fail "a second machine on a volume: $status"
says "$tmp/out" "belongs to machine vm already" "vol-create-as"

pool attach vm two --live --bus scsi 2>"$tmp/out" ||
    says "$tmp/out" "read-only"
virsh attach-disk vm "$pool_path/three.qcow2" vdc --subdriver qcow2 --live >/dev/null
virsh domblklist vm >"$tmp/out"
says "$tmp/out" "three.qcow2"
pool attach other two --target vdz
virsh domblklist other >"$tmp/out"
says "$tmp/out" "vdz"

rm "$tmp/b/one.raw" "$tmp/b/two.raw"
wait_until catalog_has three
pool sync >"$tmp/out" 2>&1
says "$tmp/out" "one.qcow2 has changed or gone, but a machine refers to its volume" "0 removed"
virsh destroy vm >/dev/null
virsh detach-disk vm vda --config >/dev/null
pool sync >"$tmp/out" 2>&1
says "$tmp/out" "1 removed" "two.qcow2 has changed or gone"

# What cannot be.
refused() {
    local code=$1 text=$2 status=0
    shift 2
    pool "$@" >"$tmp/out" 2>&1 || status=$?
    [ "$status" = "$code" ] || fail "$*: ended with $status: $(cat "$tmp/out")"
    says "$tmp/out" "$text"
    [ "$(wc -l <"$tmp/out")" = 1 ] || fail "$*: more than a line: $(cat "$tmp/out")"
}
refused 3 "machine nobody" attach nobody three
refused 3 "no volume of disk four" attach other four
refused 2 "--bus floppy" attach other three --bus floppy
refused 3 "signpost-pool define" sync --pool none
refused 2 "a pool's name" define --pool ../x
refused 2 "nbds" define --pool secret --via nbds://localhost
refused 5 "catalog" sync --catalog "sqlite:$tmp/nowhere.db"
virsh pool-define-as other dir --target "$tmp/other" >/dev/null
mkdir -p "$tmp/other"
refused 8 "was not made by signpost-pool" sync --pool other
refused 4 "is it running" status --connect "qemu+unix:///system?socket=$tmp/none"

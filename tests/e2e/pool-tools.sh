#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that know nothing of Signpost use a pool's volumes as they are: virt-install, virt-xml
# and virt-clone (whose library is virt-manager's), Cockpit's way to attach a volume, qemu-nbd.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor
requires virt-install virt-xml virt-clone qemu-nbd nbdcopy jq

mkdir -p "$tmp/b"
for disk in cockpit one served two; do
    make_raw "$tmp/b/$disk.raw" 2M
done
start_server alpha
start_server beta "$tmp/b"
wait_until catalog_has cockpit one served two
pool define --via "${uri[alpha]}" >/dev/null
export HOME=$tmp # of virt-install's cache

# does COMMAND…: without its talk, unless it fails.
does() {
    "$@" >"$tmp/out" 2>&1 || fail "$*: $(cat "$tmp/out")"
}
# The machine's disk is this volume, with its disk behind it.
is_on() {
    virsh dumpxml "$1" >"$tmp/out"
    says "$tmp/out" "<driver name='qemu' type='qcow2'" "file='$pool_path/$2.qcow2'" \
        "<source protocol='nbd' name='$2'"
}
install=(virt-install --import --memory 64 --osinfo generic --virt-type qemu --network none
    --graphics none --noautoconsole)

# Both ways to name a volume; virt-manager's assistant takes the second.
does "${install[@]}" --name printed --disk vol=signpost/one.qcow2 --print-xml
says "$tmp/out" "$pool_path/one.qcow2" 'type="qcow2"'
does "${install[@]}" --name first --disk vol=signpost/one.qcow2
is_on first one
does "${install[@]}" --name second --disk "path=$pool_path/two.qcow2"
is_on second two
[ "$(virsh pool-list --all --name | grep -c .)" = 1 ] || fail "a pool of its own was made"

does virt-xml second --add-device --disk "path=$(disk_uri alpha one),readonly=on,target.bus=scsi"
virsh dumpxml --inactive second >"$tmp/out"
says "$tmp/out" "<source protocol='nbd' name='one'>"

# Cockpit names the pool and the volume.
echo "<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/>
<source volume='cockpit.qcow2' pool='signpost'/><target dev='vdz' bus='virtio'/></disk>" \
    >"$tmp/cockpit.xml"
does virsh attach-device first "$tmp/cockpit.xml"
virsh dumpxml first >"$tmp/out"
says "$tmp/out" "volume='cockpit.qcow2'" "<source protocol='nbd' name='cockpit'"

# A clone of a machine is a whole copy.
virsh destroy first >/dev/null
does virt-clone --original first --name clone --auto-clone
qemu-img compare -q -f qcow2 -F raw "$pool_path/one-clone.qcow2" "$tmp/b/one.raw" ||
    fail "the clone's disk differs"
! qemu-img info "$pool_path/one-clone.qcow2" | has backing || fail "the clone's disk is not whole"

# A volume as an export, of a server that is not ours.
qemu-nbd --read-only --persistent --format=qcow2 --socket="$tmp/served.sock" \
    "$pool_path/served.qcow2" >"$tmp/qemu-nbd.log" 2>&1 &
pid[qemu-nbd]=$!
wait_until test -S "$tmp/served.sock"
same_bytes "nbd+unix:///?socket=$tmp/served.sock" "$tmp/b/served.raw"
pool status --json >"$tmp/out"
jq -e '.volumes[] | select(.volume == "served.qcow2").state == "pristine"' "$tmp/out" >/dev/null ||
    fail "reading has changed the volume"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What each of virsh's verbs for pools and volumes does to a Signpost pool is what the table in the
# manual page says.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
. "$here/golden.inc"
in_own_hypervisor
requires jq
read_table

mkdir -p "$tmp/b"
disks=(deleted one resized uploaded wiped)
for disk in "${disks[@]}"; do
    make_raw "$tmp/b/$disk.raw" 2M
done
start_server alpha
start_server beta "$tmp/b"
wait_until catalog_has "${disks[@]}"
pool define --via "${uri[alpha]}" >/dev/null
virsh pool-dumpxml signpost >"$tmp/pool.xml"
uuid=$(virsh pool-uuid signpost)

# The pool.
try pool-list virsh pool-list --details
try pool-info virsh pool-info signpost
try pool-dumpxml virsh pool-dumpxml signpost
try pool-name virsh pool-name "${uuid//[[:space:]]/}"
try pool-uuid virsh pool-uuid signpost
try pool-capabilities virsh pool-capabilities
try pool-refresh virsh pool-refresh signpost
try pool-autostart virsh pool-autostart signpost

# Refreshed again and again until the event is heard of.
virsh pool-event signpost --event refresh --timeout 20 >"$tmp/event" &
listener=$!
is_heard() {
    virsh pool-refresh signpost && grep -q refresh "$tmp/event"
}
wait_until is_heard
wait "$listener"
try pool-event grep refresh "$tmp/event"

try pool-define virsh pool-define "$tmp/pool.xml"
try pool-edit env EDITOR=true virsh pool-edit signpost
sed 's,<name>.*</name>,<name>same</name>,; /uuid/d' "$tmp/pool.xml" >"$tmp/same.xml"
try "pool-define of the same place" virsh pool-define "$tmp/same.xml"
try "pool-define-as the same place" virsh pool-define-as same dir --target "$pool_path"
try "pool-create of the same place" virsh pool-create "$tmp/same.xml"
try "pool-create-as the same place" virsh pool-create-as same dir --target "$pool_path"
echo '<source/>' >"$tmp/source.xml"
try find-storage-pool-sources virsh find-storage-pool-sources dir "$tmp/source.xml"
try find-storage-pool-sources-as virsh find-storage-pool-sources-as dir

try "pool-build of one that runs" virsh pool-build signpost
try "pool-delete of one that runs" virsh pool-delete signpost
try pool-destroy virsh pool-destroy signpost
try pool-delete virsh pool-delete signpost
try pool-build virsh pool-build signpost
try pool-start virsh pool-start signpost
virsh pool-destroy signpost >/dev/null
try pool-undefine virsh pool-undefine signpost
pool define --via "${uri[alpha]}" >"$tmp/out"
says "$tmp/out" "0 created, 0 replaced, 0 removed, ${#disks[@]} unchanged"

# Its volumes.
one=$pool_path/one.qcow2
try vol-list virsh vol-list signpost --details
try vol-info virsh vol-info one.qcow2 signpost
try vol-dumpxml virsh vol-dumpxml one.qcow2 signpost
try vol-key virsh vol-key "$one"
try vol-name virsh vol-name "$one"
try vol-path virsh vol-path one.qcow2 --pool signpost
try vol-pool virsh vol-pool "$one"

# volume_xml NAME [ELEMENT…]
volume_xml() {
    echo "<volume><name>$1</name><capacity unit='MiB'>2</capacity>
<target><format type='qcow2'/></target>${*:2}</volume>" >"$tmp/$1.xml"
}
is_of_disk() {
    qemu-img compare -q -F raw -f qcow2 "$pool_path/$1" "$tmp/b/$2.raw" ||
        fail "$1 does not hold what disk $2 does"
}
try "vol-create-as --backing-vol" virsh vol-create-as signpost second.qcow2 2M --format qcow2 \
    --backing-vol one.qcow2 --backing-vol-format qcow2
is_of_disk second.qcow2 one
volume_xml copy.qcow2
try vol-create-from virsh vol-create-from signpost "$tmp/copy.qcow2.xml" one.qcow2 \
    --inputpool signpost
is_of_disk copy.qcow2 one
! qemu-img info "$pool_path/copy.qcow2" | has backing || fail "the copy is not whole"
volume_xml empty.qcow2
try vol-create virsh vol-create signpost "$tmp/empty.qcow2.xml"
volume_xml backed.qcow2 \
    "<backingStore><path>$(disk_uri alpha one)</path><format type='raw'/></backingStore>"
try "vol-create with an NBD backing" virsh vol-create signpost "$tmp/backed.qcow2.xml"
try vol-clone virsh vol-clone one.qcow2 clone.qcow2 signpost
try vol-resize virsh vol-resize resized.qcow2 3M signpost
try vol-download virsh vol-download one.qcow2 "$tmp/downloaded" signpost
cmp "$tmp/downloaded" "$one" || fail "other bytes than the file's are downloaded"
is_of_disk one.qcow2 one

# The same under a machine that has the volume.
tiny_machine vm "<disk type='file'><driver name='qemu' type='qcow2'/><source file='$one'/>
<target dev='vda' bus='virtio'/></disk>" >"$tmp/vm.xml"
virsh create "$tmp/vm.xml" >/dev/null
volume_xml other.qcow2
try "vol-create-from under a machine" virsh vol-create-from signpost "$tmp/other.qcow2.xml" \
    one.qcow2 --inputpool signpost
try "vol-resize under a machine" virsh vol-resize one.qcow2 4M signpost
try "vol-delete under a machine" virsh vol-delete one.qcow2 signpost

try vol-upload virsh vol-upload uploaded.qcow2 "$tmp/b/one.raw" signpost
try vol-wipe virsh vol-wipe wiped.qcow2 signpost
try vol-delete virsh vol-delete deleted.qcow2 signpost
for disk in uploaded wiped deleted; do
    is_of_disk "$disk.qcow2" "$disk"
done

mapfile -t verbs < <(verbs_of pool volume)
table_covers "${verbs[@]}"

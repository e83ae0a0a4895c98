#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What each of virsh's verbs for the disks of a running machine does to volumes of a Signpost pool
# is what the table in the manual page says.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
. "$here/golden.inc"
in_own_hypervisor
requires jq
read_table

mkdir -p "$tmp/b" "$tmp/c"
disks=(copied export medium one pulled raw saved)
for disk in "${disks[@]}"; do
    make_raw "$tmp/b/$disk.raw" 2M
done
make_raw "$tmp/c/writable.raw" 2M
start_server alpha writable=true
start_server beta "$tmp/b"
start_server gamma writable=true "$tmp/c"
wait_until catalog_has "${disks[@]}" writable
pool define --via "${uri[alpha]}" >/dev/null
images=/var/lib/libvirt/images

# On a bus whose devices go without the guest's help.
bus="<controller type='scsi' model='virtio-scsi'/>"
tiny_machine vm "$bus<disk type='file' device='cdrom'><driver name='qemu' type='qcow2'/>
<target dev='hdc' bus='ide'/></disk>" >"$tmp/vm.xml"
virsh define "$tmp/vm.xml" >/dev/null
virsh start vm >/dev/null

# disk_has TARGET PATTERN: in what the machine knows of that disk.
disk_has() {
    virsh dumpxml vm | grep -B 12 "<target dev='$1'" | has "$2" ||
        fail "the machine's $1 has no $2"
}

attach=(virsh attach-disk vm --targetbus scsi)
try "attach-disk --subdriver qcow2" "${attach[@]}" "$pool_path/one.qcow2" sda --subdriver qcow2
disk_has sda "protocol='nbd' name='one'"
try attach-disk "${attach[@]}" "$pool_path/raw.qcow2" sdb
disk_has sdb "type='raw'"
try detach-disk virsh detach-disk vm sdb
network=(--sourcetype network --source-protocol nbd --source-host-name "127.0.0.1:${port[alpha]}")
try "attach-disk of an export" "${attach[@]}" "${network[@]}" export sdc --mode readonly
try "attach-disk of one to write" "${attach[@]}" "${network[@]}" raw sdd

# device TYPE FORMAT SOURCE TARGET: its XML is in $tmp/TARGET.xml.
device() {
    echo "<disk type='$1'><driver name='qemu' type='$2'/>$3<target dev='$4' bus='scsi'/></disk>" \
        >"$tmp/$4.xml"
}
device file qcow2 "<source file='$pool_path/raw.qcow2'/>" sdd
try attach-device virsh attach-device vm "$tmp/sdd.xml"
try detach-device virsh detach-device vm "$tmp/sdd.xml"
device volume qcow2 "<source pool='signpost' volume='pulled.qcow2'/>" sde
try "attach-device by pool" virsh attach-device vm "$tmp/sde.xml"
device network raw "<source protocol='nbd' name='raw'><host name='127.0.0.1' port='${port[alpha]}'/>
</source><readonly/>" sdf
try "attach-device of an export" virsh attach-device vm "$tmp/sdf.xml"
alias=$(virsh dumpxml vm | sed -n "/dev='sdf'/,/<alias/s/.*alias name='\(.*\)'.*/\1/p")
try detach-device-alias virsh detach-device-alias vm "$alias"

echo "<disk type='volume' device='cdrom'><driver name='qemu' type='qcow2'/>
<source pool='signpost' volume='medium.qcow2'/><target dev='hdc' bus='ide'/><readonly/></disk>" \
    >"$tmp/hdc.xml"
try update-device virsh update-device vm "$tmp/hdc.xml"
disk_has hdc medium.qcow2
try change-media virsh change-media vm hdc "$pool_path/raw.qcow2" --update
disk_has hdc "protocol='nbd' name='raw'"

try domblklist virsh domblklist vm
try domblkinfo virsh domblkinfo vm sda
try domblkstat virsh domblkstat vm sda
try domblkerror virsh domblkerror vm
try domblkthreshold virsh domblkthreshold vm sda 1M
try blkdeviotune virsh blkdeviotune vm sda --total-iops-sec 1000

# What comes home, or goes back.
"${attach[@]}" "$pool_path/writable.qcow2" sdw --subdriver qcow2 >/dev/null
"${attach[@]}" "$pool_path/copied.qcow2" sdx --subdriver qcow2 >/dev/null
try blockpull virsh blockpull vm sde --wait
! qemu-img info -U "$pool_path/pulled.qcow2" | has backing || fail "the volume needs a server still"
try blockjob virsh blockjob vm sde --info
try blockcopy virsh blockcopy vm sdx "$images/copy.qcow2" --format qcow2 --wait --pivot
try "blockcopy --transient-job" virsh blockcopy vm sdx "$images/copy.qcow2" --format qcow2 \
    --transient-job --wait --pivot
disk_has sdx "$images/copy.qcow2"
! qemu-img info -U "$images/copy.qcow2" | has backing || fail "the copy needs a server"
try blockcommit virsh blockcommit vm sdw --active --wait --pivot
disk_has sdw "protocol='nbd' name='writable'"
try "blockcommit into one that cannot" virsh blockcommit vm sda --active --wait --pivot
try blockresize virsh blockresize vm sda 3M

# What looks at all of a machine's disks: of a machine with one.
tiny_machine saved "$bus<disk type='file'><driver name='qemu' type='qcow2'/>
<source file='$pool_path/saved.qcow2'/><target dev='sda' bus='scsi'/></disk>" >"$tmp/saved.xml"
virsh define "$tmp/saved.xml" >/dev/null
virsh start saved >/dev/null
echo "<domaincheckpoint><name>first</name></domaincheckpoint>" >"$tmp/checkpoint.xml"
try checkpoint-create virsh checkpoint-create saved "$tmp/checkpoint.xml"
try checkpoint-create-as virsh checkpoint-create-as saved second
try checkpoint-delete virsh checkpoint-delete saved first
virsh checkpoint-delete saved second >/dev/null
backup_port=$(free_port)
cat >"$tmp/backup.xml" <<XML
<domainbackup mode='pull'><server transport='tcp' name='127.0.0.1' port='$backup_port'/>
<disks><disk name='sda' type='file'><scratch file='$images/scratch'/></disk></disks></domainbackup>
XML
try backup-begin virsh backup-begin saved "$tmp/backup.xml"
try backup-dumpxml virsh backup-dumpxml saved
same_bytes "nbd://127.0.0.1:$backup_port/sda" "$tmp/b/saved.raw"
virsh domjobabort saved
echo "<domainsnapshot><name>inside</name></domainsnapshot>" >"$tmp/snapshot.xml"
try snapshot-create virsh snapshot-create saved "$tmp/snapshot.xml"
try snapshot-create-as virsh snapshot-create-as saved second
try snapshot-revert virsh snapshot-revert saved inside
try snapshot-delete virsh snapshot-delete saved inside
virsh snapshot-delete saved second >/dev/null
try "snapshot-create-as --disk-only" virsh snapshot-create-as saved outside --disk-only
try "snapshot-revert of --disk-only" virsh snapshot-revert saved outside
try "snapshot-delete of --disk-only" virsh snapshot-delete saved outside

of_disks='^(attach|detach)-d|^(update-device|change-media)$|^(blkdev|block|domblk|backup)'
of_disks+='|-(create|create-as|delete|revert)$'
mapfile -t verbs < <(verbs_of domain monitor snapshot checkpoint backup | grep -E "$of_disks")
# And whatever rows there are beside those of pools and volumes.
elsewhere=" $(verbs_of pool volume | tr '\n' ' ') "
for use in "${!row[@]}"; do
    [[ $elsewhere == *" ${use%% *} "* ]] || verbs+=("${use%% *}")
done
table_covers "${verbs[@]}"

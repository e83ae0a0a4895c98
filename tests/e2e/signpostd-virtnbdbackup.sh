#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine is backed up by virtnbdbackup, and written to between: each point of the set, read
# through a relay, is what the disk was then, byte for byte; so is what virtnbdrestore makes of it.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
requires virtnbdbackup virtnbdrestore qemu-io nbdcopy jq
in_own_hypervisor
export HOME=$tmp

images=/var/lib/libvirt/images
qemu-img create -q -f qcow2 "$images/vda.qcow2" 48M
qemu-img create -q -f raw "$images/vdb.raw" 1M
truncate -s 48M "$tmp/vda.now"
truncate -s 1M "$tmp/vdb.now"
disk_xml() {
    echo "<disk type='file' device='disk'><driver name='qemu' type='$2'/>
<source file='$images/$1.$2'/><target dev='$1' bus='virtio'/></disk>"
}
tiny_machine web01 "$(disk_xml vda qcow2)$(disk_xml vdb raw)" >"$tmp/web01.xml"
virsh define "$tmp/web01.xml" >/dev/null
virsh start --paused web01 >/dev/null

# guest_writes DISK COMMAND…: by qemu-io in the machine's QEMU, and to our own picture of the disk.
guest_writes() {
    local disk=$1 device command
    shift
    device=$(virsh qemu-monitor-command web01 --pretty '{"execute":"query-block"}' |
        jq -r --arg disk "$disk" '.return[] |
            select(.inserted.file | contains("/" + $disk + ".")) | .qdev')
    [ -n "$device" ] || fail "the machine has no $disk"
    for command in "$@"; do
        virsh qemu-monitor-command web01 --hmp "qemu-io -d $device \"$command\"" >/dev/null
        qemu-io -f raw -c "$command" "$tmp/$disk.now" >/dev/null
    done
}

# backed_up SET LEVEL [OPTION…]: and what the disk is then is kept under its point's name.
backed_up() {
    local set=$1 level=$2 file date
    shift 2
    virtnbdbackup -d web01 -l "$level" -o "$tmp/repository/$set" "$@" --noprogress \
        >"$tmp/backup.log" 2>&1 || fail "$level: $(cat "$tmp/backup.log")"
    # shellcheck disable=SC2012 # names that the program has made
    file=$(ls -t "$tmp/repository/$set"/vda.*.data | head -n 1)
    date=$(sed -n 's/.*"date": "\([^".]*\).*/\1/p; /"streamVersion"/q' "$file")
    mkdir -p "$tmp/was/$set"
    cp --sparse=always "$tmp/vda.now" "$tmp/was/$set/vda@$date"
}

# Of a set without and one with compression. 40 MiB are more than one request of the program's.
for set in web01 packed/web01; do
    options=()
    [ "$set" = web01 ] || options=(--compress)
    guest_writes vda "write -P 0x11 0 3M" "write -P 0x12 5242880 65536" "write -P 0x13 8M 40M"
    guest_writes vdb "write -P 0x21 0 64k"
    backed_up "$set" full --raw "${options[@]}"
    guest_writes vda "write -P 0x31 1M 512" "write -P 0x32 4M 2M"
    backed_up "$set" inc "${options[@]}"
    guest_writes vda "write -P 0x41 1M 64k" "write -z 8M 1M"
    backed_up "$set" inc "${options[@]}"
    guest_writes vda "write -P 0x51 20M 128k"
    backed_up "$set" diff "${options[@]}"
    guest_writes vda "write -P 0x61 512 512"
    backed_up "$set" inc "${options[@]}"
    copied=$tmp/repository/$set/vdb.copy.data # a raw disk, as it is
    cp "$tmp/vdb.now" "$tmp/was/$set/vdb@$(date -u -r "$copied" +%Y-%m-%dT%H:%M:%S)"
done

start_server alpha "$tmp/repository"
start_server beta # has none of it
mapfile -t points < <(cd "$tmp/was" && find . -type f -printf '%P\n' | sort)
[ "${#points[@]}" = 12 ] || fail "points: ${points[*]}"
for point in "${points[@]}"; do
    wait_published alpha "$point"
    same_bytes "$(disk_uri beta "$point")" "$tmp/was/$point"
done
signpost where "${points[0]}" --json |
    jq -e '.locations[0] | .format == "virtnbdbackup" and .read_only' >/dev/null ||
    fail "$(signpost where "${points[0]}" --json)"

# What the program itself makes of the whole set.
for set in web01 packed/web01; do
    virtnbdrestore -i "$tmp/repository/$set" -o "$tmp/restored/$set" -d vda --noprogress \
        --logfile "$tmp/restore.out" >"$tmp/restore.log" 2>&1 || fail "$(cat "$tmp/restore.log")"
    newest=$(printf '%s\n' "${points[@]}" | grep "^$set/vda@" | tail -n 1)
    nbdcopy "$(disk_uri beta "$newest")" "$tmp/newest.raw"
    qemu-img compare -q "$tmp/newest.raw" "$tmp/restored/$set/vda.qcow2" ||
        fail "virtnbdrestore makes something else of $set"
    rm "$tmp/newest.raw"
done

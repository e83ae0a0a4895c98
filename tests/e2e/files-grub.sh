#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files come out of XFS, btrfs and logical volumes, whose group may lie on several disks, through a
# relay; groups of one name on different disks are kept apart.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires_fuse
requires grub-mount grub-fstest mkfs.xfs mkfs.btrfs sfdisk
unshare --user --map-root-user true 2>/dev/null || skip "user namespaces are not usable here"

make_tree "$tmp/tree"
rm "$tmp/tree/bin" "$tmp/tree/absolute" "$tmp/tree/etc/climbs" # GRUB goes through links
repository=$tmp/repository
mkdir -p "$repository"

truncate -s 320M "$tmp/xfs.raw"
# What mkfs.xfs takes the content of a file system from.
"$PYTHON" -B - "$tmp/tree" >"$tmp/prototype" <<'PYTHON'
import os, sys
def entries(directory, indent):
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if " " in name:
            continue
        if os.path.isdir(path):
            print(f"{indent}{name} d--755 0 0")
            entries(path, indent + " ")
            print(f"{indent}$")
        else:
            print(f"{indent}{name} ---644 0 0 {path}")
print("/\n0 0\nd--755 0 0")
entries(sys.argv[1], "")
print("$")
PYTHON
mkfs.xfs -q -p "$tmp/prototype" "$tmp/xfs.raw" >"$tmp/mkfs.out" 2>&1 ||
    fail "$(cat "$tmp/mkfs.out")"
rm "$tmp/tree/name with spaces"*
put_in_table "$repository/redhat.raw" dos 2 "$tmp/xfs.raw"
truncate -s 200M "$repository/suse.raw"
mkfs.btrfs -q --rootdir "$tmp/tree" "$repository/suse.raw" >"$tmp/mkfs.out" 2>&1 ||
    fail "$(cat "$tmp/mkfs.out")"
start_relay "$repository"
for disk in redhat suse; do
    wait_published alpha "$disk"
    same_tree "$disk:/" "$tmp/tree"
done
files cat -v redhat:p2:/etc/hosts 2>"$tmp/route" | cmp - "$tmp/tree/etc/hosts"
grep -q 'p2 (xfs) is read by GRUB' "$tmp/route" || fail "$(cat "$tmp/route")"

# Logical volumes: made by LVM itself, without a kernel that could map them.
requires_root
requires pvcreate vgcreate lvcreate losetup
lvm_on() { # lvm_on DIRECTORY COMMAND…
    local system=$1
    shift
    LVM_SYSTEM_DIR=$system LVM_SUPPRESS_FD_WARNINGS=1 "$@" --driverloaded n \
        --config 'global{locking_type=1 use_lvmpolld=0} activation{udev_sync=0 udev_rules=0
            monitoring=0} devices{use_devicesfile=0 external_device_info_source="none"
            obtain_device_list_from_udev=0}' >"$tmp/lvm.out" 2>&1 || fail "$* $(cat "$tmp/lvm.out")"
}
# make_group NAME IMAGE…: group vg0 over these disks, with a volume `root` that has the XFS in it,
# and is no larger than all but a little of them.
make_group() {
    local image devices=() system=$tmp/lvm-$1 device at offset=0
    shift
    mkdir -p "$system"
    for image in "$@"; do
        truncate -s $((720 / $#))M "$image.new"
        device=$(losetup --find --show "$image.new")
        cleanup_fn losetup --detach "$device"
        devices+=("$device")
    done
    lvm_on "$system" pvcreate --force --yes "${devices[@]}"
    lvm_on "$system" vgcreate vg0 "${devices[@]}"
    lvm_on "$system" lvcreate --activate n --zero n --wipesignatures n --size 400M \
        --alloc anywhere --name root vg0 "${devices[@]}"
    LVM_SYSTEM_DIR=$system lvm pvs --driverloaded n --noheadings --units b --nosuffix \
        --config 'devices{use_devicesfile=0}' --segments \
        -o pv_name,pe_start,pvseg_start,pvseg_size,vg_extent_size,lv_name \
        "${devices[@]}" >"$tmp/segments" 2>/dev/null
    while read -r device first start count extent volume; do
        [ "$volume" = root ] || continue
        at=$((first + start * extent))
        dd if="$tmp/xfs.raw" of="$device" bs=1M iflag=skip_bytes,count_bytes oflag=seek_bytes \
            skip="$offset" seek="$at" count=$((count * extent)) conv=notrunc status=none
        offset=$((offset + count * extent))
    done <"$tmp/segments"
    [ "$offset" -ge 400000000 ] || fail "$(cat "$tmp/segments")"
    for device in "${devices[@]}"; do
        losetup --detach "$device"
    done
    for image in "$@"; do
        mv "$image.new" "$image"
    done
}
make_group one "$repository/one.raw"
make_group two "$repository/two-a.raw" "$repository/two-b.raw"
wait_published alpha one
wait_published alpha two-b
same_tree one:vg0/root:/ "$tmp/tree"
same_tree one:/ "$tmp/tree"
rm -rf "$tmp/both"
files get -r --with two-b two-a:/ "$tmp/both"
diff --recursive "$tmp/tree" "$tmp/both" || fail "over two disks"
files ls one: -H -o part,filesystem | tr '\t' ' ' | has '^vg0/root xfs$' || fail "$(files ls one:)"
# Half of a group says so.
! files ls two-a:/ 2>"$tmp/half.err" || fail "half of a group was listed"
[ "$(wc -l <"$tmp/half.err")" = 1 ] || fail "$(cat "$tmp/half.err")"
# Nothing stays behind.
wait_until eval '! pgrep -f "^/usr/bin/grub-mount.*/disks/0"'

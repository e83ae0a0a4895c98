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
make_prototype "$tmp/tree" >"$tmp/prototype"
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
make_group one "$tmp/xfs.raw" "$repository/one.raw"
make_group two "$tmp/xfs.raw" "$repository/two-a.raw" "$repository/two-b.raw"
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

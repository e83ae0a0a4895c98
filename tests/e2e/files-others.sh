#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files come out of NTFS, FAT, exFAT, HFS+, ISO 9660 and ext2 byte for byte, through a relay.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext2 mkntfs ntfscp mkfs.vfat mcopy genisoimage xorriso sfdisk

make_tree "$tmp/tree"
rm "$tmp/tree/bin" "$tmp/tree/absolute" "$tmp/tree/etc/climbs" # not all of them have links
rm "$tmp/tree/name with spaces"*                               # mtools takes it for Latin-1
chmod 644 "$tmp/tree/etc/shadow" "$tmp/tree/usr/bin/tool"
repository=$tmp/repository
mkdir -p "$repository"

truncate -s 64M "$repository/fat.raw"
mkfs.vfat "$repository/fat.raw" >"$tmp/mkfs.out"
mcopy -s -p -m -i "$repository/fat.raw" "$tmp/tree"/* ::/
mkfs.ext2 -q -d "$tmp/tree" "$repository/ext2.raw" 64M
genisoimage -quiet -R -J -o "$repository/cd.iso" "$tmp/tree"
# HFS+ comes as a partition of a hybrid CD, by an Apple partition map.
xorriso -as mkisofs -quiet -hfsplus -o "$tmp/hybrid.iso" "$tmp/tree" 2>"$tmp/xorriso.out" ||
    fail "$(cat "$tmp/xorriso.out")"
"$PYTHON" - "$tmp/hybrid.iso" "$repository/mac.raw" <<'PYTHON'
import struct, sys
content = open(sys.argv[1], "rb").read()
block = struct.unpack(">H", content[2:4])[0]  # of the map
for number in range(1, 64):
    start, length = struct.unpack_from(">II", content, number * block + 8)
    if content[number * block + 48:].startswith(b"Apple_HFS\0"):
        break
open(sys.argv[2], "wb").write(content[start * block:(start + length) * block])
PYTHON
# NTFS has its files one by one; in the root directory, because ntfscp makes none.
truncate -s 64M "$tmp/ntfs.raw"
mkntfs --quiet --force --fast --label SYSTEM "$tmp/ntfs.raw" >"$tmp/mkntfs.out" 2>&1
mkdir "$tmp/flat"
for name in etc/hosts empty var/lib/app/data.db sparse; do
    cp "$tmp/tree/$name" "$tmp/flat/"
    ntfscp --quiet --force "$tmp/ntfs.raw" "$tmp/tree/$name" "${name##*/}" >"$tmp/ntfscp.out" 2>&1
done
put_in_table "$repository/windows.raw" gpt 3 "$tmp/ntfs.raw"
start_relay "$repository"

for disk in fat ext2 cd mac; do
    wait_published alpha "$disk"
    same_tree "$disk:/" "$tmp/tree"
done
wait_published alpha windows
same_tree windows:p3:/ "$tmp/flat"
files ls windows: -H -o part,filesystem,label | tr '\t' ' ' | has '^p3 ntfs SYSTEM$' ||
    fail "$(files ls windows:)"
# exFAT is filled by its FUSE driver, which wants a block device of root.
if [ "$(id -u)" = 0 ] && [ -w /dev/fuse ]; then
    requires mkfs.exfat mount.exfat-fuse losetup
    truncate -s 32M "$tmp/exfat.raw"
    mkfs.exfat "$tmp/exfat.raw" >"$tmp/mkfs.out"
    device=$(losetup --find --show "$tmp/exfat.raw")
    cleanup_fn losetup --detach "$device"
    mkdir "$tmp/stick"
    mount.exfat-fuse "$device" "$tmp/stick" >"$tmp/exfat.out" 2>&1 || fail "$(cat "$tmp/exfat.out")"
    cleanup_fn umount --lazy "$tmp/stick"
    cp -r "$tmp/tree"/. "$tmp/stick/"
    umount "$tmp/stick"
    losetup --detach "$device"
    mv "$tmp/exfat.raw" "$repository/stick.raw"
    wait_published alpha stick
    same_tree stick:/ "$tmp/tree"
fi
# Upper and lower case are one there, as for Windows.
cmp <(files cat windows:/DATA.DB) "$tmp/flat/data.db"

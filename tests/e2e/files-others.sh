#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files come out of NTFS, FAT, exFAT, ISO 9660 and ext2 byte for byte, through a relay.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext2 mkntfs ntfscp mkfs.vfat mcopy genisoimage sfdisk

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

for disk in fat ext2 cd; do
    wait_published alpha "$disk"
    same_tree "$disk:/" "$tmp/tree"
done
wait_published alpha windows
same_tree windows:p3:/ "$tmp/flat"
files ls windows: -H -o part,filesystem,label | tr '\t' ' ' | has '^p3 ntfs SYSTEM$' ||
    fail "$(files ls windows:)"
# Upper and lower case are one there, as for Windows.
cmp <(files cat windows:/DATA.DB) "$tmp/flat/data.db"

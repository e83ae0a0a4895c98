#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# ext4, NTFS, FAT and ISO 9660, damaged at random, hundreds of times: the command ends, with files
# or with lines that say what is wrong, and leaves nothing behind. SIGNPOST_ROUNDS=N plays more.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext4 mkfs.vfat mcopy mkntfs ntfscp genisoimage

make_tree "$tmp/tree"
rm "$tmp/tree/name with spaces"*
mkdir "$tmp/images"
make_ext4 "$tmp/images/ext4" "$tmp/tree" 24M
mkfs.ext2 -q -b 1024 -d "$tmp/tree" "$tmp/images/ext2" 24M
genisoimage -quiet -R -J -o "$tmp/images/iso" "$tmp/tree"
rm "$tmp/tree/bin" "$tmp/tree/absolute" "$tmp/tree/etc/climbs"
truncate -s 24M "$tmp/images/fat" "$tmp/images/ntfs"
mkfs.vfat "$tmp/images/fat" >"$tmp/mkfs.out"
mcopy -s -i "$tmp/images/fat" "$tmp/tree"/* ::/
mkntfs --quiet --force --fast "$tmp/images/ntfs" >"$tmp/mkntfs.out" 2>&1
for name in etc/hosts var/lib/app/data.db sparse; do
    ntfscp --quiet --force "$tmp/images/ntfs" "$tmp/tree/$name" "${name##*/}" \
        >"$tmp/ntfscp.out" 2>&1
done
# One thread each: nbdkit 1.32 dies of clients that leave while several reply.
start_nbdkit images --threads=1 file dir="$tmp/images"
"$PYTHON" -B "$here/random_damage.py" "$SIGNPOST" "${uri[images]}" "$tmp/images" \
    --rounds "${SIGNPOST_ROUNDS:-200}"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# XFS, btrfs and volume groups, damaged at random, and read by GRUB's tools: the command ends, with
# files or with lines that say what is wrong, and leaves nothing behind. SIGNPOST_ROUNDS=N plays
# more.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires_fuse
requires grub-mount grub-fstest mkfs.xfs mkfs.btrfs
unshare --user --map-root-user true 2>/dev/null || skip "user namespaces are not usable here"

make_tree "$tmp/tree"
rm "$tmp/tree/bin" "$tmp/tree/absolute" "$tmp/tree/etc/climbs" "$tmp/tree/name with spaces"*
mkdir "$tmp/images"
truncate -s 320M "$tmp/images/xfs"
make_prototype "$tmp/tree" >"$tmp/prototype"
mkfs.xfs -q -p "$tmp/prototype" "$tmp/images/xfs" >"$tmp/mkfs.out" 2>&1
truncate -s 120M "$tmp/images/btrfs"
mkfs.btrfs -q --mixed --rootdir "$tmp/tree" "$tmp/images/btrfs" >"$tmp/mkfs.out" 2>&1
if [ "$(id -u)" = 0 ]; then
    requires pvcreate vgcreate lvcreate losetup
    make_group one "$tmp/images/xfs" "$tmp/images/lvm"
fi
# One thread each: nbdkit 1.32 dies of clients that leave while several reply.
start_nbdkit images --threads=1 file dir="$tmp/images"
"$PYTHON" -B "$here/random_damage.py" "$SIGNPOST" "${uri[images]}" "$tmp/images" \
    --rounds "${SIGNPOST_ROUNDS:-30}"

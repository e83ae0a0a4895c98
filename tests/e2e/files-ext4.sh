#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files come out of ext4 byte for byte, through a relay: from a raw disk with and without partition
# table, from a qcow2 chain and from a VMDK.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext4 sfdisk qemu-img diff

make_tree "$tmp/tree"
make_strange_names "$tmp/tree"
repository=$tmp/repository
make_ext4 "$repository/plain.raw" "$tmp/tree" 64M
put_in_table "$repository/gpt.raw" gpt 2 "$repository/plain.raw"
put_in_table "$repository/logical.raw" dos 5 "$repository/plain.raw"
qemu-img convert -f raw -O vmdk "$repository/gpt.raw" "$repository/machine.vmdk"
# A chain: half of the clusters lie in the base, and all that is read goes through two overlays.
qemu-img convert -f raw -O qcow2 "$repository/gpt.raw" "$repository/base.qcow2"
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$repository/middle.qcow2"
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 "$repository/chain.qcow2"
start_relay "$repository"

for disk in plain gpt logical machine chain; do
    wait_published alpha "$disk"
    same_tree "$disk:/" "$tmp/tree"
done
files ls gpt: -H -o part,filesystem | tr '\t' ' ' | has '^p2 ext4$' || fail "gpt"
files ls logical: -H -o part,filesystem | tr '\t' ' ' | has '^p5 ext4$' || fail "logical"
files ls plain: -H -o part,filesystem | tr '\t' ' ' | has '^- ext4$' || fail "plain"
cmp <(files cat gpt:p2:/var/lib/app/data.db) "$tmp/tree/var/lib/app/data.db"
cmp <(files cat gpt:2:/sparse) "$tmp/tree/sparse"

# Holes stay holes, and what a file is restored with is what it had.
files get gpt:/sparse "$tmp/sparse"
[ "$(stat --format=%b "$tmp/sparse")" -le "$(($(stat --format=%b "$tmp/tree/sparse") + 16))" ] ||
    fail "the holes were filled: $(stat --format=%b "$tmp/sparse") blocks"
files get plain:/etc/shadow "$tmp/"
[ "$(stat --format=%a-%Y "$tmp/shadow")" = 600-1700000000 ] || fail "$(stat "$tmp/shadow")"

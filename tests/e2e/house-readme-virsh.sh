#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The README's walk through virsh works as it is printed, every command of it; only its ports and
# its directory in /tmp are replaced by free ones.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
[ -x "$SOURCE_DIR/build/release/cli/signpost" ] || skip "the walk uses build/release"
in_own_hypervisor
requires mke2fs qemu-img

awk '/^```sh virsh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$SOURCE_DIR/README.md" \
    >"$tmp/walk.printed"
[ "$(wc -l <"$tmp/walk.printed")" -gt 20 ] || fail "the README has no walk through virsh"

replacements=(-e "s|/tmp/pool-tour|$tmp/walk|g")
for printed in 10821 10822; do
    replacements+=(-e "s|\b$printed\b|$(free_port)|g")
done
sed "${replacements[@]}" "$tmp/walk.printed" >"$tmp/walk.sh"
if grep -E '\b108[0-9]{2}\b' "$tmp/walk.sh"; then
    fail "the walk uses a port that this test does not know"
fi

cd "$SOURCE_DIR"
timeout 90 bash -eu -o pipefail "$tmp/walk.sh" >"$tmp/walk.log" 2>&1 || fail "the walk stops"
says "$tmp/walk.log" "2 created" "web01%2Fvda.qcow2" "64.00 MiB" \
    "web01 runs, and has begun to read sda" "web01 has db01/vda as vda" \
    "web01 needs no server any more" "No errors were found" "Pool tour has been undefined"
tr -s '\n' <"$tmp/walk.log" | grep -qx running || fail "web01 does not run"
[ ! -e "$tmp/walk" ] || fail "the walk leaves something behind"
[ -z "$(ls -A /var/lib/libvirt/images/signpost)" ] || fail "the walk leaves something in images/"

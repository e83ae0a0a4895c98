#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Snapshots as libvirt makes them, each qcow2 file on the one before: the last is the disk, the
# others are its restore points, through a relay, too. A new one makes a point of what was the disk.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy qemu-img qemu-io jq
dir=$tmp/beta/web01
mkdir -p "$dir"

# snapshot FILE BASE SEED: a layer with some bytes of its own; FILE.guest is what a guest sees.
snapshot() {
    if [ -n "$2" ]; then
        qemu-img create -q -f qcow2 -b "$2" -F qcow2 "$dir/.$1"
    else
        qemu-img create -q -f qcow2 "$dir/.$1" 4M
    fi
    qemu-io -f qcow2 -c "write -P $3 $(($3 * 65536)) 131072" "$dir/.$1" >"$tmp/qemu-io"
    mv "$dir/.$1" "$dir/$1"
    qemu-img convert -f qcow2 -O raw "$dir/$1" "$tmp/$1.guest"
}

points() {
    signpost ls --points web01/vda --json 2>/dev/null | jq -r '.[].name'
}
has_points() { [ "$(points | wc -l)" = "$1" ]; }
disk_is() { (same_bytes "$(disk_uri alpha web01/vda)" "$1") 2>/dev/null; }

snapshot vda.qcow2 "" 1
touch -d 2026-11-20T02:00:00Z "$dir/vda.qcow2"
snapshot vda.monday vda.qcow2 2
touch -d 2026-11-21T02:00:00Z "$dir/vda.monday"
snapshot vda.tuesday vda.monday 3
start_server alpha
start_server beta "$tmp/beta"
wait_published beta web01/vda@2026-11-21T02:00:00Z
wait_until has_points 2
same_bytes "$(disk_uri alpha web01/vda@2026-11-20T02:00:00Z)" "$tmp/vda.qcow2.guest"
same_bytes "$(disk_uri alpha web01/vda@2026-11-21)" "$tmp/vda.monday.guest"
same_bytes "$(disk_uri alpha web01/vda)" "$tmp/vda.tuesday.guest"

touch -d 2026-11-22T02:00:00Z "$dir/vda.tuesday"
snapshot vda.wednesday vda.tuesday 4
wait_until has_points 3
wait_until disk_is "$tmp/vda.wednesday.guest"
same_bytes "$(disk_uri alpha web01/vda@2026-11-22)" "$tmp/vda.tuesday.guest"

# Two on one: nobody can say which is the disk. Each file has its own name again.
snapshot vda.other.qcow2 vda.wednesday 5
wait_until has_points 4
snapshot vda.another.qcow2 vda.wednesday 6
wait_until has_points 0
wait_until disk_is "$tmp/vda.qcow2.guest"
wait_published beta web01/vda.other
same_bytes "$(disk_uri alpha web01/vda.other)" "$tmp/vda.other.qcow2.guest"
same_bytes "$(disk_uri alpha web01/vda.another)" "$tmp/vda.another.qcow2.guest"

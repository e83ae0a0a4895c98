#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A pool shows the disks of the whole federation, through the server of this machine, and follows
# the catalog; what libvirt's own verbs do to a volume is seen, and mended.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

# lists "DISK SIZE"…: these are in the catalog, and no others.
lists() {
    printf '%s\n' "$@" >"$tmp/wanted"
    "$SIGNPOST" --catalog "sqlite:$catalog" ls --bytes -H -o disk,size | tr '\t' ' ' |
        cmp -s - "$tmp/wanted"
}

mkdir -p "$tmp/a" "$tmp/b/web01"
truncate -s 3M "$tmp/a/near.raw"
head -c 2097152 /dev/urandom >"$tmp/b/web01/vda.raw"
truncate -s 1000 "$tmp/b/web01/odd.raw"
start_server alpha "$tmp/a"
start_server beta "$tmp/b"
wait_until lists "near 3145728" "web01/odd 1000" "web01/vda 2097152"

pool define --via "${uri[alpha]}" >"$tmp/out"
says "$tmp/out" "3 created"
virsh vol-list signpost >"$tmp/list"
[ "$(grep -c "$pool_path" "$tmp/list")" = 3 ] || fail "not only volumes: $(cat "$tmp/list")"
for volume in near.qcow2 web01%2Fvda.qcow2 web01%2Fodd.qcow2; do
    says "$tmp/list" "$pool_path/$volume"
done
[ "$(stat -c %b "$pool_path/near.qcow2")" -le 32 ] || fail "a volume takes more than 16 KiB"
qemu-img check -q "$pool_path/web01%2Fvda.qcow2"
qemu-img compare -q -F raw -f qcow2 "$pool_path/web01%2Fvda.qcow2" "$tmp/b/web01/vda.raw"

pool sync | has "0 created, 0 replaced, 0 removed, 3 unchanged" || fail "a pass that changes"

truncate -s 1M "$tmp/b/new.raw"
rm "$tmp/b/web01/odd.raw"
truncate -s 5M "$tmp/a/near.raw"
wait_until lists "near 5242880" "new 1048576" "web01/vda 2097152"
pool sync >"$tmp/out"
says "$tmp/out" "1 created, 1 replaced, 1 removed, 1 unchanged"
[ "$(virsh vol-info near.qcow2 signpost --bytes | awk '/Capacity/ { print $2 }')" = 5242880 ] ||
    fail "libvirt does not see the new size"

# What virsh can do to a volume.
virsh vol-delete new.qcow2 signpost >/dev/null
virsh vol-wipe near.qcow2 signpost >/dev/null
status=0
pool status >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "status ended with $status"
says "$tmp/out" "near.qcow2"
says "$tmp/out" "1 damaged, 1 missing, 1 pristine"
pool repair >"$tmp/out" 2>&1
says "$tmp/out" "near.qcow2.damaged-1"
pool status | has "1 not_ours, 3 pristine" || fail "what repair has left is not right"

# Of a disk's restore points only the newest, and the next one takes the place of the last.
truncate -s 1M "$tmp/b/web01/vda@2026-11-18.raw" "$tmp/b/web01/vda@2026-11-19T02:00.raw"
wait_until lists "near 5242880" "new 1048576" "web01/vda 2097152" "web01/vda@2026-11-18 1048576" \
    "web01/vda@2026-11-19T02:00 1048576"
pool define --match web01/ --newest 1 --via "${uri[alpha]}" >"$tmp/out"
points() { find "$pool_path" -name "*@*" -printf "%f\n"; }
[ "$(points)" = web01%2Fvda@2026-11-19T02%3A00.qcow2 ] || fail "not the newest: $(points)"
truncate -s 1M "$tmp/b/web01/vda@2026-11-20T02:00.raw"
newer() { pool sync && [ "$(points)" = web01%2Fvda@2026-11-20T02%3A00.qcow2 ]; }
wait_until newer

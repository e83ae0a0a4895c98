#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A lost machine comes back from the newest restore point on another server with one command, runs
# and writes while it is copied home, and needs no server then; the point in the repository stays as
# it was, and the machine stays on it.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

mkdir -p "$tmp/a" "$tmp/b/web01"
point=$tmp/b/web01/vda-2026-11-20.raw
guest_image "$point"
before=$(sha256sum <"$point")
start_server alpha "$tmp/a"
start_server beta "$tmp/b"
wait_until catalog_has web01/vda@2026-11-20
pool define --via "${uri[alpha]}" >/dev/null
lost_machine web01 >"$tmp/web01.xml"

pool recover web01/vda --name web01 --xml "$tmp/web01.xml" 2>"$tmp/out"
says "$tmp/out" "web01/vda: its newest point, web01/vda@2026-11-20" \
    "web01 runs, and has begun to read vda" "hydrate web01"
wait_until -t 200 guest_said "GUEST sums $guest_sum"
wait_until -t 90 guest_said "GUEST wrote 3"
make_raw "$tmp/b/web01/vda-2026-11-21.raw" 1M
wait_until catalog_has web01/vda@2026-11-20 web01/vda@2026-11-21
pool recover web01/vda --name web01 --xml "$tmp/web01.xml" # again: nothing is lost by it

pool hydrate web01 2>"$tmp/out"
says "$tmp/out" "web01 needs no server any more"
stop_server alpha beta
at=$(last_written)
wait_until -t 90 has_written $((at + 3))
virsh dumpxml web01 >"$tmp/out"
! grep -q "protocol='nbd'" "$tmp/out" || fail "the machine still has a network disk"
volume=$pool_path/web01~vda.qcow2
qemu-img info -U "$volume" | has backing && fail "the volume is still based on something"
[ "$(sha256sum <"$point")" = "$before" ] || fail "the repository was changed"

# What it has flushed is there after its death.
at=$(last_written)
virsh destroy web01 >/dev/null
mv "$console" "$console.first"
virsh start web01 >/dev/null
wait_until -t 200 guest_said "GUEST wrote .*"
for ((i = 1; i <= at; i++)); do
    guest_said "GUEST found $i" || fail "what the guest had written as $i is not there"
done
! guest_said "GUEST bad .*" || fail "what the guest had written is damaged"

pool abandon web01 --dry-run 2>"$tmp/out"
says "$tmp/out" "would throw away machine web01"
status=0
pool abandon web01 </dev/null 2>"$tmp/out" || status=$?
[ "$status" = 1 ] || fail "abandon without a word: $status"
pool abandon web01 --yes
[ ! -e "$volume" ] || fail "the volume is still there"
! virsh dominfo web01 >/dev/null 2>&1 || fail "the machine is still there"

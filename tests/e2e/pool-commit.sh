#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Writes go home: into the disk itself when a machine's volume is committed to a server that lets it
# be written, and at once with --live. A server that does not refuses, and nothing is lost by that.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

mkdir -p "$tmp/b"
guest_image "$tmp/b/one.raw"
cp --sparse=always "$tmp/b/one.raw" "$tmp/b/two.raw"
start_server alpha writable=true
start_server beta "$tmp/b"
wait_until catalog_has one two
pool define --via "${uri[alpha]}" >/dev/null
lost_machine vm >"$tmp/vm.xml"
before=$(sha256sum <"$tmp/b/one.raw")

pool recover one --name vm --xml "$tmp/vm.xml" 2>"$tmp/out"
wait_until -t 200 guest_said "GUEST wrote 2"
status=0
pool commit vm 2>"$tmp/out" || status=$?
[ "$status" != 0 ] || fail "a read-only disk was written"
says "$tmp/out" "only a disk that its server lets be written"
[ "$(sha256sum <"$tmp/b/one.raw")" = "$before" ] || fail "the repository was changed"
pool abandon vm --yes

stop_server beta
start_server gamma writable=true "$tmp/b"
gamma_has_it() {
    "$SIGNPOST" --catalog "sqlite:$catalog" where one -H | grep -q gamma
}
wait_until gamma_has_it
"$SIGNPOST" --catalog "sqlite:$catalog" servers rm beta --yes >/dev/null
pool recover one --name vm --xml "$tmp/vm.xml" 2>"$tmp/out"
wait_until -t 200 guest_said "GUEST wrote 3"
pool commit vm 2>"$tmp/out"
says "$tmp/out" "vm has the disk itself as vda now"
virsh dumpxml vm | has "protocol='nbd'" || fail "the machine does not have the disk itself"
at=$(last_written)
wait_until -t 90 has_written $((at + 2))
at=$(last_written)
virsh destroy vm >/dev/null
[ "$(sha256sum <"$tmp/b/one.raw")" != "$before" ] || fail "the repository was not changed"
pool abandon vm --yes

# What it wrote is in the disk: a second machine, on the disk itself, finds it.
mv "$console" "$console.first"
pool recover one --name vm --xml "$tmp/vm.xml" --live 2>"$tmp/out"
wait_until -t 200 guest_said "GUEST wrote .*"
for ((i = 1; i <= at; i++)); do
    guest_said "GUEST found $i" || fail "what the guest had written as $i is not there"
done
! guest_said "GUEST bad .*" || fail "what the guest had written is damaged"

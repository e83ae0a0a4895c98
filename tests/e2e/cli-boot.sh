#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `boot --start` runs a machine from a disk that another server holds: from the pool where there is
# one, else as a transient machine of libvirt's. A file that a machine wrote into is not used again.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

mkdir -p "$tmp/vault"
truncate -s 64M "$tmp/vault/web01.raw"
start_signpostd vault "$tmp/vault"
wait_published vault web01
chmod a+rx "$tmp"

# boots NAME: and it runs then.
boots() {
    signpost boot web01 --start --vm "$1" --memory 128 --accel tcg >"$tmp/out" 2>&1 ||
        fail "status $?: $(cat "$tmp/out")"
    [ "$(virsh domstate "$1" | head -n 1)" = running ] || fail "$(virsh domstate "$1")"
}

boots transient
virsh dumpxml transient | has "/var/lib/libvirt/images/transient.qcow2" || fail "another disk"
qemu-img info -U /var/lib/libvirt/images/transient.qcow2 |
    has -F "backing file: ${uri[vault]}/web01" || fail "another disk behind it"
virsh destroy transient
[ -z "$(virsh list --all --name | tr -d '\n')" ] || fail "it is not transient"
status=0
signpost boot web01 --start --vm transient --accel tcg >"$tmp/out" 2>&1 || status=$?
[ "$status" = 8 ] || fail "status $status: $(cat "$tmp/out")"

pool --via "${uri[vault]}" define
boots pooled
virsh dumpxml pooled | has "$pool_path" || fail "not from the pool: $(virsh dumpxml pooled)"
virsh destroy pooled

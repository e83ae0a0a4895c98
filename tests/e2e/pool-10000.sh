#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A pool of 10,000 volumes: made, left as it is when nothing has changed, listed; one of more than
# libvirt lists is refused with the way to split it.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

# disks FROM TO: as many, of a server that nobody has to reach.
disks() {
    "$PYTHON" - "$tmp/disks" "$@" <<'CODE'
import os, sys
os.makedirs(sys.argv[1], exist_ok=True)
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    with open(f"{sys.argv[1]}/vm{i:05}.raw", "wb") as image:
        image.truncate(1 << 30)
CODE
    "$SIGNPOST" --catalog "sqlite:$catalog" --server beta --uri nbd://192.0.2.1 \
        scan "$tmp/disks" >/dev/null
}

disks 0 10000
pool define >"$tmp/out"
says "$tmp/out" "10000 created"
[ "$(virsh vol-list signpost | grep -c qcow2)" = 10000 ] || fail "libvirt does not list them all"
pool sync >"$tmp/out"
says "$tmp/out" "0 created, 0 replaced, 0 removed, 10000 unchanged"
disks 10000 10001
pool sync >"$tmp/out"
says "$tmp/out" "1 created, 0 replaced, 0 removed, 10000 unchanged"

disks 10001 16001
status=0
pool sync >"$tmp/out" 2>&1 || status=$?
[ "$status" = 1 ] || fail "too many volumes: ended with $status"
says "$tmp/out" "16001 volumes" "make several"
[ "$(find "$pool_path" -name '*.qcow2' | wc -l)" = 10001 ] || fail "something was done all the same"
pool define --pool some --match 'vm00*' >"$tmp/out"
says "$tmp/out" "1000 created"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Before libvirtd runs, a pass makes the volumes that are missing and touches no other; libvirt
# finds them when it starts. Without a pool there is one clear line.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

disks() {
    "$SIGNPOST" --catalog "sqlite:$catalog" --server beta --uri nbd://192.0.2.1 \
        scan --prune "$tmp/b" >/dev/null
}
# refused CODE TEXT OPTION…: by one line.
refused() {
    local code=$1 text=$2 status=0
    shift 2
    pool sync --offline "$@" >"$tmp/out" 2>&1 || status=$?
    [ "$status" = "$code" ] || fail "$*: ended with $status: $(cat "$tmp/out")"
    says "$tmp/out" "$text"
    [ "$(wc -l <"$tmp/out")" = 1 ] || fail "$*: more than a line: $(cat "$tmp/out")"
}

mkdir -p "$tmp/b" "$tmp/other"
truncate -s 1M "$tmp/b/grows.raw" "$tmp/b/goes.raw" "$tmp/b/lost.raw"
disks
refused 3 "signpost-pool define"
pool define >"$tmp/out"
says "$tmp/out" "3 created"
stop_libvirtd
! virsh list >/dev/null 2>&1 || fail "libvirtd still runs"

truncate -s 2M "$tmp/b/grows.raw"
truncate -s 1M "$tmp/b/new.raw"
rm "$tmp/b/goes.raw" "$pool_path/lost.qcow2"
disks
pool sync --offline --dry-run >"$tmp/out" 2>&1
says "$tmp/out" "would create lost.qcow2" "would create new.qcow2"
[ ! -e "$pool_path/new.qcow2" ] || fail "a dry run has made a volume"
before=$(stat -c %Y-%i-%s "$pool_path/grows.qcow2" "$pool_path/goes.qcow2")
pool sync --offline --json >"$tmp/out" 2>/dev/null
jq -e '.offline and (.refreshed | not) and (.failed == []) and ([.actions[].volume] | sort) ==
    ["lost.qcow2", "new.qcow2"]' "$tmp/out" >/dev/null || fail "reported: $(cat "$tmp/out")"
pool sync --offline >"$tmp/out" 2>&1
says "$tmp/out" "0 created, 0 replaced, 0 removed, 2 unchanged" "libvirt was not asked" \
    "goes.qcow2 has changed or gone; its volume stays until libvirt can be asked"
[ "$(stat -c %Y-%i-%s "$pool_path/grows.qcow2" "$pool_path/goes.qcow2")" = "$before" ] ||
    fail "a volume that was there was changed"

refused 3 "signpost-pool define" --pool none
refused 8 "was not made by signpost-pool" --path "$tmp/other"
refused 2 "a pool's name" --pool ../x
refused 5 "catalog" --catalog "sqlite:$tmp/nowhere.db"
pool sync --offline --pool any --path "$pool_path" 2>/dev/null | has "2 unchanged" ||
    fail "--path names no pool"

start_libvirtd
virsh vol-list signpost >"$tmp/out"
says "$tmp/out" new.qcow2 lost.qcow2 goes.qcow2
pool sync >"$tmp/out"
says "$tmp/out" "0 created, 1 replaced, 1 removed, 2 unchanged"

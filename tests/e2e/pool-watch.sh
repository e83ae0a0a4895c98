#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `watch` hears what libvirt tells, and need not wait for its next look, which is an hour away here:
# a volume that was deleted is back after a refresh, a machine that a disk's error has stopped goes
# on. libvirtd may be restarted under it, and its own refreshes lead to no others.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
requires_nbdkit filter error
in_own_hypervisor
stop_libvirtd
cat >/etc/libvirt/libvirtd.conf <<CONF
log_filters="1:libvirt.storage"
log_outputs="1:file:$tmp/calls"
CONF
start_libvirtd

refreshes() {
    grep -c 'virStoragePoolRefresh:' "$tmp/calls" || true
}
# refreshed N: that often since $before.
refreshed() {
    [ "$(refreshes)" = $((before + $1)) ]
}
is_listed() {
    virsh vol-info two.qcow2 signpost
}
said_times() {
    [ "$(grep -cF "$2" "$tmp/watch.log")" -ge "$1" ]
}
runs() {
    virsh domstate vm | has -x running
}
open_files() {
    find "/proc/$watch_pid/fd" -type l | wc -l
}

# A server that can be told to break, by its exports' names.
mkdir "$tmp/b" "$tmp/exports"
truncate -s 1M "$tmp/b/one.raw" "$tmp/b/two.raw" "$tmp/b/three.raw"
ln "$tmp/b/one.raw" "$tmp/exports/one"
start_nbdkit alpha --filter=error file dir="$tmp/exports" \
    error-pread-rate=100% error-file="$tmp/broken"
signpost --server alpha --uri "${uri[alpha]}" scan "$tmp/b" >/dev/null
pool define --via "${uri[alpha]}" >/dev/null
tiny_machine vm >"$tmp/vm.xml"
virsh define "$tmp/vm.xml" >/dev/null
pool attach vm one
virsh vol-delete two.qcow2 signpost >/dev/null
before=$(refreshes)
SIGNPOST_CATALOG=sqlite:$catalog "$SIGNPOST_POOL" watch --interval 3600 2>"$tmp/watch.log" &
watch_pid=$!
cleanup_fn kill "$watch_pid"
wait_until is_listed # by its first pass; from here on it listens
wait_until refreshed 1

virsh vol-delete two.qcow2 signpost >/dev/null
virsh pool-refresh signpost >/dev/null
wait_until -t 30 is_listed
wait_until refreshed 3

touch "$tmp/broken"
virsh start vm >/dev/null
wait_until -t 60 said_times 3 "machine vm was stopped by a disk's error, and goes on"
rm "$tmp/broken"
wait_until -t 60 runs
refreshed 3 || fail "refreshes lead to refreshes: $(refreshes), of which $before before"

for round in 1 2 3; do
    stop_libvirtd
    wait_until said_times "$round" "is it running? (systemctl start libvirtd); trying again"
    start_libvirtd
    wait_until said_times "$round" "all is well again"
    opened[round]=$(open_files)
done
[ "${opened[3]}" = "${opened[2]}" ] || fail "files that were open after each restart: ${opened[*]}"

# What `define` has changed meanwhile holds.
pool define --via "${uri[alpha]}" --match one --match two >"$tmp/out"
says "$tmp/out" "1 removed"
virsh vol-delete two.qcow2 signpost >/dev/null
virsh pool-refresh signpost >/dev/null
wait_until -t 30 is_listed
! virsh vol-info three.qcow2 signpost >/dev/null 2>&1 || fail "the old selection came back"

# It ends when it is told to, and at once.
start=$(now_ms)
kill -TERM "$watch_pid"
status=0
wait "$watch_pid" || status=$?
[ "$status" = 0 ] || fail "ended with $status"
[ $(($(now_ms) - start)) -lt 2000 ] || fail "it took $(($(now_ms) - start)) ms to end"

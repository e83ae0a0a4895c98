#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The servers of a machine's disk are away for a while, without a replica: the guest is stopped,
# sees no error, and goes on; nothing that it has flushed is lost. With a replica it does not
# notice.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

mkdir -p "$tmp/b/web01"
guest_image "$tmp/b/web01/vda.raw" 64
start_server alpha peer-timeout=3
start_server beta "$tmp/b"
wait_until catalog_has web01/vda
pool define --via "${uri[alpha]}" >/dev/null
lost_machine web01 >"$tmp/web01.xml"
pool recover web01/vda --name web01 --xml "$tmp/web01.xml" 2>"$tmp/out"
wait_until -t 200 guest_said "GUEST wrote 2"
is_stopped() {
    [ "$(virsh domstate web01 --reason | head -n 1)" = "paused (I/O error)" ]
}
goes_on() {
    local at
    at=$(last_written)
    wait_until -t 90 has_written $((at + 3))
    ! guest_said "GUEST error .*" || fail "the guest saw an error"
}

# The holder of the disk dies, and comes back.
kill_server beta
wait_until -t 60 is_stopped
status=0
pool resume web01 --timeout 4 2>"$tmp/out" || status=$?
[ "$status" = 4 ] || fail "resume while the server is away ended with $status"
says "$tmp/out" "the server of its disk is still away"
restart_server beta
pool resume web01 2>"$tmp/out"
says "$tmp/out" "web01 runs"
goes_on
pool resume web01 2>"$tmp/out"
says "$tmp/out" "web01 runs already"

# The machine's own server freezes, and dies.
kill -STOP "${pid[alpha]}"
at=$(last_written)
sleep 2 # the outage
kill -CONT "${pid[alpha]}"
goes_on
kill_server alpha
wait_until -t 60 is_stopped
restart_server alpha
pool_begins watch --interval 1 2>"$tmp/watch.log"
cleanup_fn kill "$tool"
goes_on
says "$tmp/watch.log" "machine web01 was stopped by a disk's error, and goes on"

# A replica, proven equal: nobody notices.
mkdir -p "$tmp/c/web01"
cp --sparse=always "$tmp/b/web01/vda.raw" "$tmp/c/web01/vda.raw"
start_server gamma "$tmp/c"
both() {
    [ "$("$SIGNPOST" --catalog "sqlite:$catalog" where web01/vda -H | wc -l)" = 2 ]
}
wait_until both
"$SIGNPOST" --catalog "sqlite:$catalog" verify web01/vda >/dev/null
kill_server alpha
wait_until -t 60 is_stopped
restart_server alpha
goes_on
kill_server beta
goes_on
! is_stopped || fail "the guest was stopped although a replica was left"

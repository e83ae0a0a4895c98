#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# As pool-crash.sh, for a disk that its server lets be written: whatever dies while a machine's
# volume is committed into the disk, or while the machine runs on the disk itself (after that, or
# with --live), nothing that the guest has flushed is lost. ROUNDS=200 SEED=N by hand; one life of a
# machine is three rounds.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

rounds=${ROUNDS:-3} seed=${SEED:-1} machine=web01
. "$here/pool-crash.inc"
mkdir -p "$tmp/b/web01"
guest_image "$tmp/image"
volume=$pool_path/$machine~vda.qcow2 live=()
lost_machine "$machine" >"$tmp/web01.xml"

recover() {
    pool recover web01/vda --name "$machine" --xml "$tmp/web01.xml" "${live[@]}"
}

step_begins() {
    [ "$1" != commit ] || pool_begins commit "$machine" 2>>"$tmp/tool.log"
}

has_the_disk_itself() {
    virsh dumpxml "$machine" --inactive | has "protocol='nbd'"
}

as_it_would_start() {
    if has_the_disk_itself; then
        printf 'driver=raw,file.driver=nbd,file.export=web01/vda,file.host=127.0.0.1,file.port=%s' \
            "${port[alpha]}"
    else
        echo "driver=qcow2,file.filename=$volume"
    fi
}

look_at_guest() { true; }

# libvirt before 9.2 cannot tell QEMU to dial again: without its server such a machine has to be
# switched off and on.
goes_on_or_anew() {
    if [ "$victim" = alpha ] && has_the_disk_itself; then
        virsh destroy "$machine" >/dev/null
        died=yes
    fi
    goes_on
}

committed() {
    local status=0
    pool commit "$machine" 2>"$tmp/out" || status=$?
    [ "$status" = 0 ] || [ "$status" = 8 ] || fail "commit cannot be repeated: $(cat "$tmp/out")"
    has_the_disk_itself || fail "the machine does not have the disk itself: $(cat "$tmp/out")"
}

while [ "$round" -lt "$rounds" ]; do
    cp --sparse=always "$tmp/image" "$tmp/b/web01/vda.raw"
    start_server alpha peer-timeout=3 writable=true
    start_server beta "$tmp/b" writable=true
    wait_published beta web01/vda
    pool define --via "${uri[alpha]}" >/dev/null
    rm -f "$console"

    recover 2>>"$tmp/tool.log"
    wait_until -t 200 has_written 2
    blow commit 1500 tool libvirtd alpha alpha-frozen beta beta-frozen qemu
    flushed_is_there
    goes_on_or_anew
    committed
    goes_on
    flushed_is_there

    blow run 2000 libvirtd alpha alpha-frozen beta beta-frozen qemu
    flushed_is_there
    goes_on_or_anew
    at=$(last_written)
    pool abandon "$machine" --yes 2>>"$tmp/tool.log"

    # A second machine, on the disk itself from the start, finds all of it.
    mv "$console" "$console.first"
    live=(--live)
    recover 2>>"$tmp/tool.log"
    wait_until -t 200 guest_said "GUEST wrote .*"
    guest_said "GUEST found $at" || fail "the second machine does not find $at"
    blow live 2000 libvirtd alpha alpha-frozen beta beta-frozen qemu
    flushed_is_there
    goes_on_or_anew
    flushed_is_there
    pool abandon "$machine" --yes 2>>"$tmp/tool.log"
    live=()
    stop_server alpha beta
done
echo "$round rounds with seed $seed: $found_again flushed files found again, none lost"

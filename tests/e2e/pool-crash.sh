#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Whatever dies with kill -9 (signpost-pool, libvirtd, either server, QEMU), or freezes for a while
# (a server), at any moment of a recovery's life: the step can be repeated, nothing that the guest
# has flushed is lost, and the repository stays as it was. With an odd SEED the disk has a replica:
# its holder's end does not stop the guest. ROUNDS=200 SEED=N by hand; one life of a machine is five
# rounds.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor
requires e2fsck debugfs

rounds=${ROUNDS:-5} seed=${SEED:-1}
RANDOM=$seed
machine=web01
mkdir -p "$tmp/a" "$tmp/b/web01"
guest_image "$tmp/b/web01/vda.raw"
before=$(sha256sum <"$tmp/b/web01/vda.raw")
start_server alpha "$tmp/a" peer-timeout=3
start_server beta "$tmp/b"
wait_until catalog_has web01/vda
replica=$((seed % 2))
if [ "$replica" = 1 ]; then
    mkdir -p "$tmp/c/web01"
    cp --sparse=always "$tmp/b/web01/vda.raw" "$tmp/c/web01/vda.raw"
    start_server gamma "$tmp/c"
    wait_published gamma web01/vda
    signpost verify web01/vda >/dev/null
fi
pool define --via "${uri[alpha]}" >/dev/null
lost_machine "$machine" >"$tmp/web01.xml"
volume=$pool_path/$machine~vda.qcow2
# A guest that reads for the first time after its server's death is stopped then, and let go on.
pool_begins watch --interval 1 2>>"$tmp/watch.log"
cleanup_fn kill "$tool"

# Sets $victim. (Not by output: a subshell has other random numbers each time.)
one_of() {
    shift $((RANDOM % $#))
    victim=$1
}

# A moment within so many milliseconds: when the blow falls.
moment() {
    local ms=$((RANDOM % $1))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

qemu_pid() {
    cat "/run/libvirt/qemu/$machine.pid" 2>/dev/null
}

# strike VICTIM TOOL-PID
strike() {
    case $1 in
    tool)
        kill -KILL "$2" 2>/dev/null || true
        wait "$2" 2>/dev/null || true
        ;;
    libvirtd)
        kill -KILL "$libvirtd_pid"
        wait "$libvirtd_pid" 2>/dev/null || true
        ;;
    qemu) kill -KILL "$(qemu_pid)" 2>/dev/null || true ;;
    *-frozen)
        kill -STOP "${pid[${1%-frozen}]}"
        moment 4000
        ;;
    *) kill_server "$1" ;;
    esac
}

# With a replica, the holder's end is nothing that the guest could have noticed.
holder_is_spared() {
    [ "$replica" = 0 ] || [[ $victim != beta* ]] ||
        [ "$(virsh domstate "$machine" --reason 2>/dev/null)" != "paused (I/O error)" ]
}

heal() {
    kill -0 "$libvirtd_pid" 2>/dev/null || start_libvirtd
    local server
    kill -CONT "${pid[@]}"
    for server in alpha beta; do
        [ -n "${pid[$server]:-}" ] || restart_server "$server"
    done
}

# The volume, for qemu-img; with the chain that hydrate has spelled out for the next start.
as_it_would_start() {
    local behind=''
    if ! qemu-img info -U "$volume" | has '^backing file:' &&
        virsh dumpxml "$machine" --inactive | has "name='web01/vda'"; then
        behind=,backing.driver=raw,backing.file.driver=nbd,backing.file.export=web01/vda
        behind+=,backing.file.host=127.0.0.1,backing.file.port=${port[alpha]}
    fi
    echo "driver=qcow2,file.filename=$volume$behind"
}

# As after a loss of power: what the volume holds now, with what the guest had said it had flushed.
flushed_is_there() {
    local qemu at i found
    qemu=$(qemu_pid) || true
    [ -z "$qemu" ] || kill -STOP "$qemu" 2>/dev/null || true
    at=$(last_written)
    found=0
    qemu-img check -U -q "$volume" || [ $? = 3 ] || fail "the volume is damaged"
    qemu-img convert -U -O raw --image-opts "$(as_it_would_start)" "$tmp/now.raw"
    [ -z "$qemu" ] || kill -CONT "$qemu" 2>/dev/null || true
    [ -n "$at" ] || return 0
    dd if="$tmp/now.raw" of="$tmp/now.ext4" bs=1M skip=32 conv=sparse status=none
    e2fsck -fp "$tmp/now.ext4" >"$tmp/e2fsck" 2>&1 || [ $? -le 1 ] ||
        fail "the guest's file system is damaged: $(cat "$tmp/e2fsck")"
    rm -rf "$tmp/written"
    debugfs -R "rdump /written $tmp" "$tmp/now.ext4" 2>/dev/null
    for ((i = 1; i <= at; i++)); do
        [ "$(sha256sum <"$tmp/written/$i")" = "$(cat "$tmp/written/sum.$i")" ] ||
            fail "what the guest had written as $i is not there"
        found=$i
    done
    found_again=$((found_again + found))
}

is_off() {
    [ "$(virsh domstate "$machine")" = "shut off" ]
}

# The guest runs, and writes; after its own death, again, and finds what it had written.
goes_on() {
    local at
    at=$(last_written)
    if [ -n "$died" ]; then
        wait_until -t 20 is_off
        mv "$console" "$console.$round"
    fi
    pool recover web01/vda --name "$machine" --xml "$tmp/web01.xml" 2>>"$tmp/tool.log" ||
        fail "recover cannot be repeated"
    pool resume "$machine" 2>>"$tmp/tool.log" || fail "resume does not let it go on"
    if [ -n "$died" ]; then
        wait_until -t 200 guest_said "GUEST wrote .*"
        [ -z "$at" ] || guest_said "GUEST found $at" || fail "the guest has lost $at"
    else
        wait_until -t 200 has_written $((${at:-0} + 2))
    fi
    ! guest_said "GUEST (bad|error) .*" || fail "the guest saw an error"
}

# blow STEP MOMENT VICTIM…: one of them dies within that many milliseconds from the step's start.
round=0 found_again=0 died=''
blow() {
    local step=$1 within=$2 tool=''
    shift 2
    one_of "$@"
    round=$((round + 1))
    case $step in
    recover)
        pool_begins recover web01/vda --name "$machine" --xml "$tmp/web01.xml" 2>>"$tmp/tool.log"
        ;;
    hydrate)
        pool_begins hydrate "$machine" --rate 8 2>>"$tmp/tool.log"
        ;;
    abandon)
        pool_begins abandon "$machine" --yes 2>>"$tmp/tool.log"
        ;;
    esac
    moment "$within"
    strike "$victim" "$tool"
    echo "round $round: $step, $victim dies, $(last_written) written"
    holder_is_spared || fail "the guest was stopped although a replica was left"
    heal
    [ -z "$tool" ] || wait "$tool" 2>/dev/null || true
    died=''
    [ "$victim" != qemu ] || died=yes
}

while [ "$round" -lt "$rounds" ]; do
    rm -f "$console"
    blow recover 1500 tool libvirtd alpha alpha-frozen beta beta-frozen
    goes_on
    wait_until -t 90 has_written 2
    flushed_is_there

    blow run 2000 libvirtd alpha alpha-frozen beta beta-frozen qemu
    flushed_is_there
    goes_on

    blow hydrate 5000 tool libvirtd alpha alpha-frozen beta beta-frozen qemu
    flushed_is_there
    goes_on
    pool hydrate "$machine" 2>>"$tmp/tool.log" || fail "hydrate cannot be repeated"

    blow home 1000 libvirtd alpha alpha-frozen beta beta-frozen qemu
    flushed_is_there
    goes_on

    flushed_is_there
    blow abandon 300 tool libvirtd
    pool abandon "$machine" --yes 2>"$tmp/abandoned" || [ $? = 3 ] ||
        grep -q 'was not brought back' "$tmp/abandoned" ||
        fail "abandon cannot be repeated: $(cat "$tmp/abandoned")"
    [ ! -e "$volume" ] || fail "the volume is still there"
    ! virsh dominfo "$machine" >/dev/null 2>&1 || fail "the machine is still there"
    [ "$(sha256sum <"$tmp/b/web01/vda.raw")" = "$before" ] || fail "the repository was changed"
done
echo "$round rounds with seed $seed: $found_again flushed files found again, none lost"

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

rounds=${ROUNDS:-5} seed=${SEED:-1} machine=web01
. "$here/pool-crash.inc"
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

# With a replica, the holder's end is nothing that the guest could have noticed.
look_at_guest() {
    [ "$replica" = 0 ] || [[ $victim != beta* ]] ||
        [ "$(virsh domstate "$machine" --reason 2>/dev/null)" != "paused (I/O error)" ] ||
        fail "the guest was stopped although a replica was left"
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

recover() {
    pool recover web01/vda --name "$machine" --xml "$tmp/web01.xml"
}

step_begins() {
    case $1 in
    recover) pool_begins recover web01/vda --name "$machine" --xml "$tmp/web01.xml" ;;
    hydrate) pool_begins hydrate "$machine" --rate 8 ;;
    abandon) pool_begins abandon "$machine" --yes ;;
    esac 2>>"$tmp/tool.log"
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

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# proof.sh: the libvirt of $LIBVIRT_BUILD, a build of the patched source, against real servers.
# `run` starts it. All happens in mounts, a network and a process tree of its own.
#
# beta has the disks; alpha and gamma (the latter with TLS) have none and relay. A guest boots from
# a volume of each pool, reads its files and writes: through alpha by TCP and by its Unix socket,
# through gamma by TLS. Then what the other patches are for, and servers that mean no good.

upstream=$(cd "$(dirname "$0")" && pwd)
: "${LIBVIRT_BUILD:?the build directory of the patched libvirt; use ./run}"
export LIBVIRT_BUILD SERVER=signpostd SIGNPOST_NO_SKIP=1
# shellcheck source=../../tests/e2e/functions.sh
. "$upstream/../../tests/e2e/functions.sh"
# shellcheck source=../../tests/e2e/libvirt.inc
. "$here/libvirt.inc"
# shellcheck source=../../tests/e2e/pki.inc
. "$here/pki.inc"
requires nbdkit qemu-img python3

# Run from its build directory, libvirt takes its modules and schemas from there.
libvirtd() {
    "$LIBVIRT_BUILD/src/libvirtd" "$@"
}

virsh() {
    "$LIBVIRT_BUILD/tools/virsh" "$@"
}

seen=0
step() {
    echo "   proof: $*"
    seen=$((seen + 1))
}

# /etc as it is, but what is written to it is gone with this test: certificates, and where libvirt
# and QEMU look for them.
own_etc() {
    mkdir "$tmp/etc"
    mount -t tmpfs signpost-proof "$tmp/etc"
    cleanup_fn umount --lazy "$tmp/etc"
    mkdir "$tmp/etc/upper" "$tmp/etc/work"
    mount -t overlay -o "lowerdir=/etc,upperdir=$tmp/etc/upper,workdir=$tmp/etc/work" \
        signpost-proof /etc
    make_authority "$tmp/ca"
    make_certificate "$tmp/ca" "$tmp/server" server localhost
    make_certificate "$tmp/ca" /etc/pki/libvirt-nbd client hypervisor.example
    chmod -R a+rX /etc/pki
}

# define_pool NAME SOURCE-XML
define_pool() {
    echo "<pool type='nbd'><name>$1</name>$2</pool>" >"$tmp/pool.xml"
    virsh pool-define --validate "$tmp/pool.xml" >/dev/null
}

# start_machine NAME DISK-XML [OPTION]: its console goes to $console.
start_machine() {
    console=/var/lib/libvirt/$1.console
    tiny_machine "$1" "
<disk $2<target dev='vda' bus='virtio'/></disk>
<serial type='file'><source path='$console'/></serial>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>" |
        sed 's,<memory.*MiB.>64<,<memory unit="MiB">256<,' >"$tmp/$1.xml"
    virsh define --validate "$tmp/$1.xml" >/dev/null
    virsh start "$1" "${@:3}" >/dev/null
}

# command_line_has MACHINE TEXT…: that of its QEMU.
command_line_has() {
    tr '\0' '\n' <"/proc/$(cat "/run/libvirt/qemu/$1.pid")/cmdline" >"$tmp/command-line"
    says "$tmp/command-line" "${@:2}"
}

# boots_from POOL
boots_from() {
    start_machine "vm-$1" "type='volume' device='disk'><driver name='qemu' type='raw'/>
        <source pool='$1' volume='guest'/>"
    wait_until -t 600 guest_said "GUEST sums $guest_sum"
    step "a guest on volume guest of pool $1 printed: GUEST sums $guest_sum"
    wait_until -t 120 guest_said "GUEST wrote [0-9]+"
    step "and wrote to it: GUEST wrote $(last_written)"
    virsh destroy "vm-$1" >/dev/null
}

# lists POOL: both disks, with their sizes.
lists() {
    virsh vol-list "$1" --details >"$tmp/out"
    sed '/^$/d; s/^/      /' "$tmp/out"
    grep -qE '^ *guest .*network +[0-9.]+ MiB' "$tmp/out" || fail "no volume guest in pool $1"
    grep -qE '^ *small .*network +2\.00 MiB' "$tmp/out" || fail "no volume small in pool $1"
    step "vol-list --details $1 shows the disks of beta"
}

# refuses SECONDS TEXT COMMAND…: ends in that time, with that message.
refuses() {
    local limit=$1 text=$2 start
    shift 2
    start=$(now_ms)
    if "$@" >"$tmp/out" 2>&1; then
        fail "succeeds: $*"
    fi
    [ $(($(now_ms) - start)) -lt $((limit * 1000)) ] || fail "takes $(($(now_ms) - start)) ms: $*"
    says "$tmp/out" "$text"
    step "$(grep -m 1 -F -- "$text" "$tmp/out") (after $(($(now_ms) - start)) ms)"
}

[ "${SIGNPOST_OWN_HYPERVISOR:-}" != 1 ] || own_etc
in_own_hypervisor
virsh version --daemon | sed '/^$/d; s/^/      /'

mkdir "$tmp/beta"
guest_image "$tmp/beta/guest.raw"
make_raw "$tmp/beta/small.raw" 2M
start_server beta writable=true "$tmp/beta"
socket=/run/signpost/nbd.sock
spawn_signpostd alpha --writable --listen=127.0.0.1:0 --listen="unix:$socket"
chmod 0666 "$socket"
spawn_signpostd gamma --writable --listen=127.0.0.1:0 --tls-certificates="$tmp/server" \
    --peer-tls=off
alpha=$(free_port_of alpha 127.0.0.1) gamma=$(free_port_of gamma 127.0.0.1)
wait_until catalog_has guest small

# The pool, by TCP, by a Unix socket and by TLS.
define_pool nbd "<source><host name='127.0.0.1' port='$alpha'/></source>"
define_pool unix "<source><host transport='unix' socket='$socket'/></source>"
define_pool tls "<source tls='yes'><host name='localhost' port='$gamma'/></source>"
for name in nbd unix tls; do
    virsh pool-start "$name" >/dev/null
done
virsh pool-list --type nbd >"$tmp/out"
says "$tmp/out" " nbd " " unix " " tls "
virsh pool-capabilities >"$tmp/out"
says "$tmp/out" "<pool type='nbd' supported='yes'>"
step "pools of type nbd are defined (their XML agrees with the schema) and started"
for name in nbd unix tls; do
    lists "$name"
    boots_from "$name"
done
virsh vol-dumpxml small --pool tls >"$tmp/out"
says "$tmp/out" "<volume type='network'>" "<path>nbds://localhost:$gamma/small</path>" \
    "<capacity unit='bytes'>2097152</capacity>"
[ "$(virsh vol-pool "nbd+unix:///small?socket=$socket")" = unix ] || fail "no volume by its path"
step "a volume is found by its path, nbd+unix:///small?socket=$socket"

# What changes on the server is seen by a refresh; what cannot be done is said.
make_raw "$tmp/beta/later.raw" 1M
wait_until catalog_has guest later small
virsh pool-refresh nbd >/dev/null
virsh vol-info later --pool nbd >"$tmp/out"
says "$tmp/out" "1.00 MiB"
step "pool-refresh shows a disk that came later"
refuses 10 "storage pool does not support vol" virsh vol-create-as nbd new 1M
refuses 10 "storage pool does not support vol" virsh vol-delete small --pool nbd
define_again() {
    define_pool again "<source><host name='127.0.0.1' port='$alpha'/></source>"
}
refuses 10 "Storage source conflict with pool: 'nbd'" define_again

# Backing stores that are no files: made, cloned, and with options.
images=/var/lib/libvirt/images/local
mkdir "$images"
virsh pool-create-as local dir --target "$images" >/dev/null
cat >"$tmp/volume.xml" <<XML
<volume><name>stub.qcow2</name><capacity>2097152</capacity>
<target><format type='qcow2'/></target>
<backingStore><path>nbd://127.0.0.1:$alpha/small</path><format type='raw'/></backingStore></volume>
XML
virsh vol-create local "$tmp/volume.xml" >/dev/null
virsh vol-clone stub.qcow2 copy.qcow2 --pool local >/dev/null
qemu-img compare -q -f qcow2 -F raw "$images/copy.qcow2" "$tmp/beta/small.raw"
step "vol-create on nbd://, and vol-clone of it: same bytes as on beta"
sed -i "s,nbd://.*/small,nbd://127.0.0.1:$alpha/none,; s,stub,none," "$tmp/volume.xml"
refuses 30 "none" virsh vol-create local "$tmp/volume.xml"

backing="json:{\"driver\":\"nbd\",\"server\":{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":"
backing+="\"$alpha\"},\"export\":\"small\",\"reconnect-delay\":30,\"open-timeout\":7}"
qemu-img create -q -u -f qcow2 -F raw -b "$backing" "$images/options.qcow2" 2M
start_machine options "type='file' device='disk'><driver name='qemu' type='qcow2'/>
    <source file='$images/options.qcow2'/>" --paused
command_line_has options '"reconnect-delay":30' '"open-timeout":7'
step "reconnect-delay and open-timeout of a json: backing store reach QEMU"
qemu-img create -q -u -f qcow2 -F raw -b "nbds://localhost:$gamma/small" "$images/nbds.qcow2" 2M
start_machine nbds "type='file' device='disk'><driver name='qemu' type='qcow2'/>
    <source file='$images/nbds.qcow2'/>" --paused
command_line_has nbds '"qom-type":"tls-creds-x509"' '"tls-creds":'
step "a guest starts on an nbds:// backing store, with TLS"

# Servers that mean no good, or are away.
start_hostile() {
    "$PYTHON" -B "$upstream/hostile_nbd.py" "$tmp/hostile.port" "$1" 2>>"$tmp/hostile.log" &
    pid[hostile]=$!
    wait_until [ -s "$tmp/hostile.port" ]
    define_pool "$1" "<source><host name='127.0.0.1' port='$(cat "$tmp/hostile.port")'/></source>"
}
for how in silent drip; do
    start_hostile "$how"
    refuses 30 "doesn't answer in time" virsh pool-start "$how"
    kill_server hostile
    rm "$tmp/hostile.port"
done
start_hostile endless
refuses 30 "more than 65536 exports" virsh pool-start endless
kill_server hostile
rm "$tmp/hostile.port"
start_hostile flood
refuses 60 "doesn't answer in time" virsh pool-start flood
start_nbdkit names eval get_size='echo 1M' pread='exit 1' open='echo' \
    list_exports='printf "NAMES\ngood\nwith space\na/b\n..\nta\\tb\n\\377\n"'
define_pool names "<source><host name='127.0.0.1' port='${port[names]}'/></source>"
virsh pool-start names >/dev/null
virsh vol-list names | tail -n +3 | awk 'NF { $NF = ""; print }' | sed 's/ *$//' >"$tmp/out"
[ "$(cat "$tmp/out")" = "$(printf 'good\nwith space')" ] || fail "names: $(cat "$tmp/out")"
step "of six names that a server told, the two that can be names of volumes are there"
define_pool plain "<source tls='yes'><host name='localhost' port='$alpha'/></source>"
refuses 20 "server refused TLS" virsh pool-start plain
kill_server alpha
refuses 20 "Connection refused" virsh pool-refresh nbd
virsh pool-list --all >"$tmp/out"
grep -qE '^ *nbd +inactive' "$tmp/out" || fail "pool nbd: $(cat "$tmp/out")"
grep -qE '^ *tls +active' "$tmp/out" || fail "pool tls: $(cat "$tmp/out")"
step "a pool whose server is away is inactive, the others are not disturbed"
echo "   proof: $seen things seen, nothing failed"

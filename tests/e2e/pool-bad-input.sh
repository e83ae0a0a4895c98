#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What signpost-pool cannot do it refuses with the status that the manual page names and one line
# that has cause and remedy, and leaves everything as it was: pools, machines, files.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor

long=$(printf 'x%.0s' {1..250})
mkdir -p "$tmp/b"
for disk in one three two "$long"; do
    make_raw "$tmp/b/$disk.raw" 1M
done
start_server alpha
start_server beta "$tmp/b"
wait_until catalog_has one three two "$long"
pool define --via "${uri[alpha]}" >/dev/null 2>&1
for name in off vm; do
    tiny_machine "$name" >"$tmp/$name.xml"
    virsh define "$tmp/$name.xml" >/dev/null
done
virsh start vm >/dev/null
images=/var/lib/libvirt/images

state() {
    virsh "pool-list --all; list --all; dumpxml off; dumpxml vm; dumpxml vm --inactive"
    find "$images" -type d -print -o -printf '%p %i %s %T@\n' | sort
}

# refused STATUS CAUSE REMEDY VERB…
refused() {
    local code=$1 cause=$2 remedy=$3 status=0
    shift 3
    state >"$tmp/before"
    SIGNPOST_CATALOG=sqlite:$catalog timeout 30 "$SIGNPOST_POOL" "$@" >"$tmp/said" 2>"$tmp/out" ||
        status=$?
    [ "$status" = "$code" ] || fail "$*: ended with $status: $(cat "$tmp/out")"
    says "$tmp/out" "$cause" "$remedy"
    [ "$(wc -l <"$tmp/out")" = 1 ] || fail "$*: not one line: $(cat "$tmp/out")"
    state >"$tmp/after"
    diff "$tmp/before" "$tmp/after" || fail "$*: something was done all the same"
}

# Names.
refused 3 "machine nobody" "virsh list --all" attach nobody one
for verb in hydrate commit resume; do
    refused 3 "machine nobody" "virsh list --all" "$verb" nobody
done
refused 3 "machine nobody was not brought back" "virsh undefine" abandon nobody --yes
refused 3 "no volume of disk four" "signpost ls" attach vm four
refused 3 "no server has disk four" "signpost find" recover four --name new
refused 3 "four.qcow2" "signpost-pool status" repair four.qcow2
refused 3 "pool none" "signpost-pool define" sync --pool none
refused 3 "pool none" "signpost-pool define" attach vm one --pool none
refused 2 "../one" "signpost ls" attach vm ../one
refused 2 "--pool ../x" "without /" define --pool ../x
refused 2 "--pool x\x0ay" "without /" define --pool $'x\ny'
refused 2 "--pool xxx" "200 bytes at most" define --pool "$long"
refused 2 "--name: machine a/b" "use up to 200 letters" recover one --name a/b
refused 2 "--target ../vda" "vda, sdb" attach off one --target ../vda
refused 1 "disk 'xxx" "--live" attach off "$long"
refused 2 "--match" "leave it out" define --match ''

# Pools of another kind, and of somebody else.
mkdir "$tmp/plain"
virsh pool-define-as foreign netfs --source-host h --source-path /p --target "$tmp/plain" >/dev/null
refused 8 "pool foreign is of type netfs" "choose another --pool" sync --pool foreign
refused 8 "pool foreign exists already" "choose another name" define --pool foreign
virsh pool-undefine foreign >/dev/null
virsh pool-define-as plain dir --target "$tmp/plain" >/dev/null
refused 8 "was not made by signpost-pool" "choose another --pool" sync --pool plain
refused 8 "pool plain exists already" "choose another name" define --pool plain

# XML.
echo "<domain><name>x" >"$tmp/open.xml"
echo "<pool/>" >"$tmp/pool.xml"
tiny_machine x >"$tmp/diskless.xml"
lost_machine x >"$tmp/x.xml"
sed 's,<vcpu>1,<vcpu>none,' "$tmp/x.xml" >"$tmp/wrong.xml"
refused 2 "does not parse" "virsh dumpxml" recover one --name new --xml "$tmp/open.xml"
refused 2 "not of a <domain>" "virsh dumpxml" recover one --name new --xml "$tmp/pool.xml"
refused 2 "1 disks, and 2 were named" "name one for each" recover one two --name new \
    --xml "$tmp/x.xml"
refused 2 "0 disks, and 1 were named" "name one for each" recover one --name new \
    --xml "$tmp/diskless.xml"
refused 2 "nothing.xml" "cannot be read" recover one --name new --xml "$tmp/nothing.xml"
refused 1 "vcpu" "--xml $tmp/wrong.xml" recover one --name new --xml "$tmp/wrong.xml"
refused 8 "there is a machine vm already" "choose another --name" recover one --name vm

# Volumes that are no qcow2 any more, and one that two machines want.
virsh vol-wipe three.qcow2 signpost >/dev/null
virsh vol-upload two.qcow2 "$tmp/x.xml" signpost >/dev/null
refused 8 "three.qcow2 is no qcow2" "signpost-pool repair" attach vm three
refused 8 "two.qcow2 is no qcow2" "signpost-pool repair" attach off two
pool repair >/dev/null 2>&1
refused 8 "three.qcow2 is not damaged" "stays as it is" repair three.qcow2
pool attach vm one 2>"$tmp/out"
refused 8 "one.qcow2 belongs to machine vm" "vol-create-as" attach off one
pool attach off two 2>"$tmp/out"
refused 8 "machine off is off" "virsh start off" hydrate off
virsh vol-create-as signpost new~sda.qcow2 1M --format qcow2 >/dev/null
refused 8 "new~sda.qcow2 is there already" "virsh vol-delete" recover three --name new --type qemu
virsh vol-delete new~sda.qcow2 signpost >/dev/null

# A full disk: with room for nothing, and for a machine's first volume.
mount_tmpfs "$images/full" 200k
fill() {
    head -c 1M /dev/zero >"$images/full/filling" 2>/dev/null || true
    truncate --size="-${1:-0}" "$images/full/filling"
}
fill
refused 1 "No space left" "make room" define --pool full --path "$images/full/pool"
rm "$images/full/filling"
pool define --pool full --path "$images/full/pool" --match one --via "${uri[alpha]}" >"$tmp/out"
fill
refused 1 "No space left" "make room" recover one two --name new --pool full --type qemu
fill 20K
refused 1 "No space left" "make room" recover one two --name new --pool full --type qemu
virsh vol-delete one.qcow2 full >/dev/null
fill
refused 6 "No space left" "make room" sync --pool full
says "$tmp/said" "0 created"

# The server of this machine is away, and that of the disk.
stop_server alpha
refused 4 "Connection refused" "signpost where three" attach vm three
refused 4 "Connection refused" "signpost where three" attach vm three --live
refused 4 "Connection refused" "signpost where three" recover three --name new --xml "$tmp/x.xml"
restart_server alpha
kill_server beta
refused 4 "three" "signpost where three" attach vm three
refused 4 "three" "signpost where three" recover three --name new --xml "$tmp/x.xml"

# The catalog is away, and libvirt.
nowhere=sqlite:$tmp/nowhere.db
refused 5 "nowhere.db" "catalog" define --pool new --catalog "$nowhere"
refused 5 "nowhere.db" "catalog" sync --catalog "$nowhere"
refused 5 "nowhere.db" "catalog" recover one --name new --catalog "$nowhere"
silent="qemu+unix:///system?socket=$tmp/none"
refused 4 "libvirt at" "systemctl start libvirtd" define --pool new --connect "$silent"
refused 4 "libvirt at" "systemctl start libvirtd" status --connect "$silent"
refused 4 "libvirt at" "systemctl start libvirtd" attach vm three --connect "$silent"
refused 4 "libvirt at" "systemctl start libvirtd" recover one --name new --connect "$silent"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Foreign servers with one export: the default one is named as the server, one that the URI names is
# imported alone, and qemu-nbd's read-only flag is kept.
. "$(dirname "$0")/functions.sh"

requires nbdkit qemu-nbd jq
start_nbdkit memory memory 3M
signpost servers add tape "${uri[memory]}" --foreign
shape='[.size, .locations[0].export, .locations[0].read_only]'
[ "$(signpost where tape --json | jq -c "$shape")" = '[3145728,"",false]' ] ||
    fail "default export: $(signpost where tape --json)"

make_raw "$tmp/vault/a.raw" 1M
make_raw "$tmp/vault/b.raw" 1M
start_nbdkit vault file dir="$tmp/vault"
signpost servers add vault "${uri[vault]}/b.raw" --foreign
disks() {
    signpost ls -H -o disk | tr '\n' ' '
}
[ "$(disks)" = "b tape " ] || fail "one export: $(disks)"
signpost servers add vault "${uri[vault]}/missing" --foreign 2>"$tmp/err" && fail "imported nothing"
[ "$(disks)" = "b tape " ] || fail "changed: $(disks)"

qemu-img create -q -f qcow2 "$tmp/q.qcow2" 5M
qemu-nbd --read-only --persistent --fork --pid-file="$tmp/qemu.pid" --export-name=guest/vda \
    --socket="$tmp/qemu.sock" -f qcow2 "$tmp/q.qcow2"
cleanup_fn kill "$(cat "$tmp/qemu.pid")"
signpost servers add qemu "nbd+unix:///?socket=$tmp/qemu.sock" --foreign
[ "$(signpost where guest/vda --json | jq -c "$shape")" = '[5242880,"guest/vda",true]' ] ||
    fail "qemu-nbd: $(signpost where guest/vda --json)"

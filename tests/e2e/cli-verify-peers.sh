#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two Signpost servers with one disk, raw here and qcow2 there: verified through `local:NAME` on
# each, they back each other up.
. "$(dirname "$0")/functions.sh"

requires nbdkit qemu-nbd qemu-img jq
make_raw "$tmp/alpha/vm/disk.raw" 5M 1
truncate -s 32M "$tmp/alpha/vm/disk.raw"
mkdir -p "$tmp/beta/vm"
qemu-img convert -f raw -O qcow2 "$tmp/alpha/vm/disk.raw" "$tmp/beta/vm/disk.qcow2"
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published alpha vm/disk
wait_published beta vm/disk

[ "$(signpost info vm/disk --json | jq -c .same_content)" = '[["alpha"],["beta"]]' ] ||
    fail "the same before anybody looked"
signpost verify vm/disk
[ "$(signpost info vm/disk --json | jq -c .same_content)" = '[["alpha","beta"]]' ] ||
    fail "not the same: $(signpost where vm/disk --json)"
signpost verify vm/disk --json >"$tmp/out"
jq -e '.[0].locations | all(.bytes_read < 10485760)' "$tmp/out" || fail "holes are read"
signpost where vm/disk --check

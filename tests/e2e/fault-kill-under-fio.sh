#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# fio reads through a gateway at queue depth 32 while each of two equal peers is killed and started
# again in turn: not one error.
. "$(dirname "$0")/functions.sh"

requires nbdkit fio jq
fio --enghelp | has '\bnbd\b' || skip "this fio has no nbd engine"
make_raw "$tmp/beta/vm/disk.raw" 32M 5
mkdir -p "$tmp/gamma/vm"
cp "$tmp/beta/vm/disk.raw" "$tmp/gamma/vm/disk.raw"
start_server beta "$tmp/beta"
start_server gamma "$tmp/gamma"
start_server alpha
wait_published beta vm/disk
wait_published gamma vm/disk
signpost verify vm/disk

fio --name=failover --ioengine=nbd --uri="$(disk_uri alpha vm/disk)" --rw=randread --bs=4k \
    --iodepth=32 --time_based --runtime=5 --size=32m --output-format=json \
    --output="$tmp/fio.json" 2>"$tmp/fio.log" &
fio=$!
cleanup_fn kill -KILL "$fio"
for peer in beta gamma beta gamma; do
    kill -0 "$fio" 2>/dev/null || break
    kill_server "$peer"
    restart_server "$peer"
    wait_published "$peer" vm/disk
done
wait "$fio" || fail "fio reports an error"
jq -e '.jobs[0] | .error == 0 and .read.total_ios > 100' "$tmp/fio.json" ||
    fail "$(jq '.jobs[0].error, .jobs[0].read.total_ios' "$tmp/fio.json")"

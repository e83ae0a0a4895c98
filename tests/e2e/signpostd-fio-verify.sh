#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# fio writes through a relay and verifies what it has written, while the server that holds the image
# is killed and started again: not one error, and the same bytes in the image.
. "$(dirname "$0")/functions.sh"

requires fio jq
fio --enghelp | has '\bnbd\b' || skip "this fio has no nbd engine"
make_raw "$tmp/beta/far.raw" 32M 1
start_server beta writable=true "$tmp/beta"
start_server alpha writable=true
wait_published beta far
fio --name=written --ioengine=nbd --uri="$(disk_uri alpha far)" --rw=randwrite --bs=16k \
    --iodepth=16 --size=32m --loops=6 --rate=24m --verify=crc32c --verify_fatal=1 --do_verify=1 \
    --randseed=7 --fsync=64 --verify_state_save=0 --output-format=json \
    --output="$tmp/fio.json" 2>"$tmp/fio.log" &
fio=$!
cleanup_fn kill -KILL "$fio"
has_written() {
    [ "$(awk '$1 == "wchar:" { print $2 }' "/proc/${pid[beta]}/io")" -gt $((8 * 1024 * 1024)) ]
}
for _ in 1 2 3; do
    wait_until has_written
    kill -0 "$fio" 2>/dev/null || fail "fio has ended: $(cat "$tmp/fio.log" "$tmp/fio.json")"
    kill_server beta
    restart_server beta
done
wait "$fio" || fail "fio reports an error: $(cat "$tmp/fio.log")"
jq -e '.jobs[0] | .error == 0 and .write.total_ios >= 2048 and .read.total_ios >= 2048' \
    "$tmp/fio.json" || fail "$(jq '.jobs[0] | .error, .write.total_ios, .read.total_ios' \
        "$tmp/fio.json")"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU's block layer with reconnect-delay rides through restarts, orderly and not: no request fails,
# neither those under way nor those after it.
. "$(dirname "$0")/functions.sh"

requires qemu-img qemu-io
mkdir -p "$tmp/repository"
head -c 64M /dev/zero | tr '\0' '\132' >"$tmp/repository/a.raw"
port[alpha]=$(free_port)
spawn_signpostd alpha --repository="$tmp/repository" --listen="127.0.0.1:${port[alpha]}"
disk=driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=127.0.0.1
disk+=,file.server.port=${port[alpha]},file.export=a,file.reconnect-delay=20,file.open-timeout=20
# Requests all the time, as many as there are until the restarts are over.
while [ ! -e "$tmp/over" ]; do
    qemu-img bench --image-opts -c 40000 -d 16 -s 64k "$disk,read-only=on" || exit 1
done >"$tmp/bench.log" 2>&1 &
bench=$!
cleanup_fn kill "$bench"
# And one client that looks at the bytes.
coproc io { exec stdbuf -oL qemu-io -r --image-opts "$disk" 2>&1; }
exec {to_io}>&"${io[1]}" {from_io}<&"${io[0]}"
reads_pattern() {
    local line
    echo "read -P 0x5a $1 64k" >&"$to_io"
    while read -r -t 30 line <&"$from_io"; do
        [[ $line == *"Pattern verification failed"* || $line == *"read failed"* ]] &&
            fail "at $1: $line"
        [[ $line == *"read 65536/65536"* ]] && return
    done
    fail "no answer at $1"
}
offset=0
for end in kill_server stop_server kill_server stop_server; do
    for _ in 1 2 3 4 5; do
        reads_pattern "$offset"
        offset=$((offset + 65536))
    done
    "$end" alpha
    restart_server alpha
done
reads_pattern "$offset"
touch "$tmp/over"
wait "$bench" || fail "a request failed"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The server is killed at one system call while it fills its cache, gives up what is old, and writes
# its index, and then at another: whatever was left, it starts again, and no client ever gets a
# wrong byte. The cache is smaller than the disk, so each reading of all of it fills and evicts.
#
# Here at some of the calls that change something. At all kinds of calls, for as long as it takes:
#   SIGNPOST_KILL=all tests/e2e/signpostd-cache-kill.sh  # or "pwrite64 fdatasync", or others
# then of each kind at every one of the first eight, and at about every eighth of the rest.
. "$(dirname "$0")/cache.inc"

requires strace
cached_disk 144M 9 cache-size=64M
stop_server gateway

# The program as it is, or under strace, which lets it have its own process number.
real=$SIGNPOSTD
cat >"$tmp/traced" <<SHELL
#!/bin/sh
[ -s "$tmp/kill" ] || exec "$real" "\$@"
read -r call number <"$tmp/kill"
[ "\$call" != count ] || exec strace -D -f -c -U name,calls -o "$tmp/calls" "$real" "\$@"
exec strace -D -f -o /dev/null -e trace="\$call" \
    -e inject="\$call":signal=KILL:when="\$number" "$real" "\$@"
SHELL
chmod +x "$tmp/traced"
command_of[gateway]=${command_of[gateway]//"$(printf '%q' "$real")"/"$(printf '%q' "$tmp/traced")"}

is_dead() {
    ! kill -0 "${pid[gateway]}" 2>/dev/null
}

serves() {
    is_dead || [ -s "$tmp/gateway.pid" ]
}

# True: it was killed there. Else it ends in order, and writes the rest of its index.
run_traced() {
    local command status=0
    eval "command=(${command_of[gateway]})"
    rm -f "$tmp/gateway.pid"
    "${command[@]}" >>"$tmp/gateway.log" 2>&1 &
    pid[gateway]=$!
    wait_until -t 60 serves
    nbdcopy "$(disk_uri gateway vda)" "$tmp/read.raw" 2>>"$tmp/nbdcopy.log" || status=$?
    if [ "$status" = 0 ]; then
        cmp "$tmp/beta/vda.raw" "$tmp/read.raw" || fail "$1: a wrong byte before it was killed"
    fi
    is_dead || kill -TERM "${pid[gateway]}"
    wait_until -t 60 is_dead
    status=0
    wait "${pid[gateway]}" 2>/dev/null || status=$?
    unset "pid[gateway]"
    [ "$status" = 0 ] || [ "$status" = 137 ] || fail "$1: it ended with $status"
    [ "$status" = 137 ]
}

# What is in the cache comes first then, and is not pushed out before it is looked at.
reads_backwards() {
    "$PYTHON" - "$(disk_uri gateway vda)" "$tmp/beta/vda.raw" <<'PYTHON'
import nbd, sys
disk = nbd.NBD()
disk.connect_uri(sys.argv[1])
with open(sys.argv[2], "rb") as file:
    wanted = file.read()
piece = 1 << 20
for at in reversed(range(0, len(wanted), piece)):
    if disk.pread(piece, at) != wanted[at:at + piece]:
        sys.exit(f"a wrong byte at {at}")
PYTHON
}

rounds=0 kills=0
# round CALL NUMBER: false when that call is never made so often.
round() {
    local killed=1 what="killed at $1 $2"
    # Every fifth time from nothing; else from what the last one left.
    [ $((rounds % 5)) != 0 ] || rm -rf "$tmp/cache"
    rounds=$((rounds + 1))
    echo "$1 $2" >"$tmp/kill"
    run_traced "$what" || killed=0
    rm "$tmp/kill"
    [ "$killed" = 1 ] || return 1
    kills=$((kills + 1))
    restart_server gateway
    reads_backwards || fail "$what: not what it should be"
    ! grep -q 'not what was stored' "$tmp/gateway.log" ||
        fail "$what: the index was ahead of the file"
    stop_server gateway
}

if [ -n "${SIGNPOST_KILL:-}" ]; then
    ! round count 0 || fail "it was killed where it was only watched"
    wait_until test -s "$tmp/calls"
    mapfile -t calls < <(awk 'NF == 2 && $2 ~ /^[0-9]+$/ && $1 !~ /^(execve|exit|total)/ {
        print $1 }' "$tmp/calls")
    [ "$SIGNPOST_KILL" = all ] || read -ra calls <<<"$SIGNPOST_KILL"
    for call in "${calls[@]}"; do
        number=1
        while round "$call" "$number"; do
            number=$((number + 1 + number / 8))
        done
    done
else
    # The main thread makes the first of these calls, when it starts; the rest are the writer's.
    for point in "ftruncate 1" "pwrite64 30" "fdatasync 12" "pwrite64 100" "pwrite64 400" \
        "fallocate 1" "fallocate 6" "fdatasync 20" "pwrite64 600" "lseek 1"; do
        # shellcheck disable=SC2086 # two words
        round $point || echo "not killed at $point"
    done
fi
echo "$rounds rounds, killed in $kills"
[ "$kills" -ge 5 ] || fail "only $kills of $rounds rounds killed the server"

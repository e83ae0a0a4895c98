#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The server is killed at one system call of a copy, or of a move that goes from it, and then at
# another: afterwards there is the old state or the new, never half an image, and once it runs again
# the job is finished.
#
# Here at those calls that change something. At all kinds of calls, for as long as it takes:
#   SIGNPOST_KILL=all tests/e2e/signpostd-jobs-kill.sh  # or copy, or move
# then of each kind at every one of the first eight, and at about every eighth of the rest.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq strace
mkdir -p "$tmp/alpha" "$tmp/beta"
make_raw "$tmp/content.raw" 9M 61
start_server beta "$tmp/beta"
start_server alpha "$tmp/alpha"
stop_server alpha

# The program as it is, or under strace, which lets it have its own process number.
real=$SIGNPOSTD
cat >"$tmp/traced" <<SHELL
#!/bin/sh
[ -s "$tmp/kill" ] || exec "$real" "\$@"
read -r call number <"$tmp/kill"
[ "\$call" != count ] || exec strace -D -f -c -U name,calls -o "$tmp/calls" "$real" "\$@"
exec strace -D -f -o /dev/null -e trace="\$call" -e inject="\$call":signal=KILL:when="\$number" \
    "$real" "\$@"
SHELL
chmod +x "$tmp/traced"
command_of[alpha]=${command_of[alpha]//"$(printf '%q' "$real")"/"$(printf '%q' "$tmp/traced")"}

state_of() {
    signpost jobs "$1" --json | jq -r .state
}
is_done() {
    [ "$(state_of "$1")" = "done" ]
}
dead_or_done() {
    ! kill -0 "${pid[alpha]}" 2>/dev/null || is_done "$1"
}
back_each_other_up() {
    signpost info "$1" --json | jq -e '.same_content | length == 1' >/dev/null
}
whole_or_nothing() {
    [ ! -e "$1" ] || cmp "$1" "$tmp/content.raw" || fail "$2: half an image is to be seen"
}

rounds=0 kills=0
# round KIND CALL NUMBER: false when that call is never made so often.
round() {
    local kind=$1 disk=$1-$2-$3 id what="$1, killed at $2 $3" killed=0
    rounds=$((rounds + 1))
    local from=beta to=alpha
    [ "$kind" = copy ] || from=alpha to=beta
    cp --sparse=always "$tmp/content.raw" "$tmp/$from/$disk.raw"
    if [ "$kind" = move ]; then
        restart_server alpha
        wait_published alpha "$disk"
        stop_server alpha
    else
        wait_published beta "$disk"
    fi
    id=$(signpost "$kind" "$disk" --to "$to" --detach 2>/dev/null)
    echo "$2 $3" >"$tmp/kill"
    start_traced "$id" || killed=1
    rm "$tmp/kill"
    whole_or_nothing "$tmp/alpha/$disk.raw" "$what"
    whole_or_nothing "$tmp/beta/$disk.raw" "$what"
    [ -e "$tmp/alpha/$disk.raw" ] || [ -e "$tmp/beta/$disk.raw" ] || fail "$what: no image is left"
    [ "$killed" = 0 ] || restart_server alpha
    wait_until -t 60 is_done "$id"
    cmp "$tmp/$to/$disk.raw" "$tmp/content.raw" || fail "$what: other bytes"
    if [ "$kind" = move ]; then
        [ ! -e "$tmp/alpha/$disk.raw" ] || fail "$what: the source still has it"
    else
        # A publication that began before may still take the digest away; it comes back by itself.
        wait_until -t 60 back_each_other_up "$disk"
    fi
    [ -z "$(find "$tmp/alpha/.signpost" -type f)" ] || fail "$what: something is left behind"
    stop_server alpha
    kills=$((kills + killed))
    [ "$killed" = 1 ]
}

# Starts the server as the file says, and waits until the job is done (status 0) or the server dead.
start_traced() {
    local command
    eval "command=(${command_of[alpha]})"
    rm -f "$tmp/alpha.pid"
    "${command[@]}" >>"$tmp/alpha.log" 2>&1 &
    pid[alpha]=$!
    wait_until -t 60 dead_or_done "$1"
    if kill -0 "${pid[alpha]}" 2>/dev/null; then
        return 0
    fi
    wait "${pid[alpha]}" 2>/dev/null || true
    unset "pid[alpha]"
    return 1
}

# calls_of KIND: the kinds of system calls that such a job is made of, and the start before it.
calls_of() {
    rm -f "$tmp/calls"
    ! round "$1" count 0 || fail "a $1 that is only watched was killed"
    wait_until test -s "$tmp/calls"
    mapfile -t calls < <(awk 'NF == 2 && $2 ~ /^[0-9]+$/ && $1 !~ /^(execve|exit|total)/ {
        print $1 }' "$tmp/calls")
}

if [ -n "${SIGNPOST_KILL:-}" ]; then
    for kind in ${SIGNPOST_KILL/all/copy move}; do
        calls_of "$kind"
        for call in "${calls[@]}"; do
            number=1
            while round "$kind" "$call" "$number"; do
                number=$((number + 1 + number / 8))
            done
        done
    done
else
    for point in "ftruncate 2" "fsync 2" "renameat2 1" "unlinkat 1"; do
        # shellcheck disable=SC2086 # two words
        round copy $point || echo "not killed at $point"
    done
    for point in "unlinkat 1" "fsync 1"; do
        # shellcheck disable=SC2086
        round move $point || echo "not killed at $point"
    done
fi
echo "$rounds rounds, killed in $kills"
[ "$kills" -ge 4 ] || fail "only $kills of $rounds rounds killed the server"

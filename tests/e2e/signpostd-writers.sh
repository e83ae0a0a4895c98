#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two servers have writable copies of one disk: whoever writes to the one keeps everybody else from
# writing to the other, until its server has been stopped (SIGSTOP) for longer than the lease. When
# it wakes up it must not write any more, and its copy is stale.
. "$(dirname "$0")/functions.sh"

requires jq nbdsh
for name in beta gamma; do
    make_raw "$tmp/$name/vda.raw" 1M 1
    signpostd_options=(--audit-log="$tmp/$name.audit")
    start_server $name writable=true "$tmp/$name"
    wait_published $name vda
done

writer() {
    signpost where vda --json | jq -r '.writer | if . then .server else "nobody" end'
}

state_of() {
    signpost where vda --json | jq -r --arg server "$1" '.locations[] |
        select(.server == $server) | .state'
}

writes_to_gamma() {
    "$PYTHON" -m nbd -u "$(disk_uri gamma vda)" \
        -c 'h.pwrite(b"G" * 4096, 4096); h.flush()' 2>"$tmp/refused"
}

open_session "$(disk_uri beta vda)"
[ "$(writer)" = nobody ] || fail "opening was taken for writing"
ask write 0 4096 66
[ "$answer" = ok ] || fail "write: $answer"
ask flush
[ "$answer" = ok ] || fail "flush: $answer"
[ "$(writer)" = beta ] || fail "the writer is $(writer)"
"$PYTHON" -m nbd -u "$(disk_uri gamma vda)" -c 'h.pread(4096, 0)' || fail "reading is refused"
! writes_to_gamma || fail "two writers"
has "write of 127.0.0.1 is refused: disk vda is written by 127.0.0.1 on beta" <"$tmp/gamma.log" ||
    fail "gamma does not say why"

kill -STOP "${pid[beta]}"
wait_until -t 40 writes_to_gamma
[ "$(writer)" = gamma ] || [ "$(writer)" = nobody ] || fail "the writer is $(writer)"
echo "write 0 4096 67" >&"$to_session"
kill -CONT "${pid[beta]}"
read -r -t 30 answer answer_ms _ <&"$from_session" || fail "no answer"
[ "$answer" = EPERM ] || fail "a write of the one who lost the disk: $answer"
ask flush
[ "$answer" != ok ] || fail "its flush succeeds"

[ "$(state_of beta) $(state_of gamma)" = "stale ready" ] ||
    fail "beta is $(state_of beta), gamma is $(state_of gamma)"
[ "$(head -c 4096 "$tmp/beta/vda.raw" | tr -d B | wc -c)" = 0 ] ||
    fail "beta's copy does not have what was flushed, and only that"
[ "$(dd if="$tmp/gamma/vda.raw" bs=4096 skip=1 count=1 status=none | tr -d G | wc -c)" = 0 ] ||
    fail "gamma's copy lacks its write"
grep '"op":"writer"' "$tmp/beta.audit" | has '"right":"lost"' || fail "no word of it in the audit"

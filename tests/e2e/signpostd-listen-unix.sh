#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Unix socket that a dead server has left is replaced; one that answers, or a file of another
# kind, is refused and left alone; an orderly end removes the socket.
. "$(dirname "$0")/functions.sh"

requires nbdinfo
mkdir "$tmp/repository"
socket=$tmp/nbd.sock
make_raw "$tmp/repository/a.raw" 1M
spawn_signpostd alpha --repository="$tmp/repository" --listen="unix:$socket"
kill_server alpha
[ -S "$socket" ] || fail "the test is wrong: a killed server leaves its socket"
restart_server alpha
nbdinfo --size "nbd+unix:///a?socket=$socket" >/dev/null || fail "not served after a crash"

refused() {
    if "$SIGNPOSTD" --catalog="$tmp/none.db" --listen="unix:$1" 2>"$tmp/refusal"; then
        fail "listens on $1"
    fi
    grep -q "$1" "$tmp/refusal" || fail "the refusal does not name $1: $(cat "$tmp/refusal")"
    [ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "more than a line: $(cat "$tmp/refusal")"
}
refused "$socket"
nbdinfo --size "nbd+unix:///a?socket=$socket" >/dev/null || fail "the live server lost its socket"
echo precious >"$tmp/file"
refused "$tmp/file"
[ "$(cat "$tmp/file")" = precious ] || fail "a file was replaced"

stop_server alpha
[ ! -e "$socket" ] || fail "the socket is still there"

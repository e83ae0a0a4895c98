#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `run` gives a program a disk at a socket of its own, whoever holds it; the program's exit status
# is the command's; nothing is left behind; with --cow it writes, and the disk does not change.
# shellcheck disable=SC2016 # variables are for the shell that `run` starts
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo qemu-io qemu-nbd jq
export TMPDIR=$tmp/scratch
mkdir "$TMPDIR"
export tmp
make_raw "$tmp/vault/web01.raw" 4M
start_nbdkit vault -r file dir="$tmp/vault"
signpost servers add vault "${uri[vault]}" --foreign

# leaves STATUS COMMAND…: the command ends with that status, and nothing of it is left.
leaves() {
    local wanted=$1 status=0
    shift
    "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    [ "$status" = "$wanted" ] || fail "$*: status $status: $(cat "$tmp/out" "$tmp/err")"
    [ -z "$(ls -A "$TMPDIR")" ] || fail "$*: left behind: $(ls -A "$TMPDIR")"
}

# One word is a line for the shell; several are a program and its words.
leaves 0 signpost run web01 -- 'nbdcopy "$uri" - | cmp - "$tmp/vault/web01.raw"'
leaves 0 signpost run web01 -- nbdinfo --size '$uri'
[ "$(cat "$tmp/out")" = 4194304 ] || fail "$(cat "$tmp/out")"
leaves 0 signpost run web01 -- sh -c 'echo "$name $exportname $unixsocket $nbd"'
grep -qE "^web01 web01 ($TMPDIR/.*/nbd.sock) nbd:unix:\1:exportname=web01$" "$tmp/out" ||
    fail "$(cat "$tmp/out")"
leaves 0 signpost run web01 -- qemu-img info '$uri'

# How it ends.
leaves 7 signpost run web01 -- 'exit 7'
leaves 143 signpost run web01 -- 'kill $$'
leaves 127 signpost run web01 -- no-such-program web01
leaves 126 signpost run web01 -- "$tmp/vault" web01
leaves 2 signpost run web01
leaves 3 signpost run web02 -- true
leaves 5 "$SIGNPOST" --catalog "$tmp/none.db" run web01 -- true

# A signal that asks the command to end is passed on to the program, and its end is awaited.
signpost_pid=0
"$SIGNPOST" --catalog "sqlite:$catalog" run web01 -- \
    'trap "exit 9" TERM; echo began; while :; do sleep 0.1; done' >"$tmp/began" &
signpost_pid=$!
wait_until grep -q began "$tmp/began"
kill "$signpost_pid"
status=0
wait "$signpost_pid" || status=$?
[ "$status" = 9 ] || fail "after SIGTERM: status $status"

# Killed, it takes its server along; the next one removes what it left.
"$SIGNPOST" --catalog "sqlite:$catalog" run web01 -- \
    'echo $unixsocket; exec sleep 30' >"$tmp/began" &
signpost_pid=$!
wait_until grep -q sock "$tmp/began"
sleeper=$(pgrep -P "$signpost_pid" -x sleep)
kill -KILL "$signpost_pid"
wait "$signpost_pid" || true
kill "$sleeper"
socket_is_dead() { ! nbdinfo "nbd+unix:///web01?socket=$(cat "$tmp/began")"; }
wait_until socket_is_dead
leaves 0 signpost run web01 -- true

# It writes, and reads what it has written; the disk stays.
sha256sum "$tmp/vault/web01.raw" >"$tmp/sum"
leaves 0 signpost run web01 --cow -- \
    'qemu-io -f raw -c "write -P 7 64k 1M" "$uri" && qemu-io -f raw -c "read -P 7 64k 1M" "$uri"'
sha256sum --check --quiet "$tmp/sum"
leaves 1 signpost run web01 -- qemu-io -f raw -c 'write -P 7 64k 1M' '$uri'

# While the catalog is away, the server that this machine's stubs lead to is asked.
. "$here/stubs.inc"
make_raw "$tmp/alpha/db.raw" 1M 2
start_signpostd alpha "$tmp/alpha"
wait_published alpha db
wait_known alpha db
mv "$catalog" "$tmp/away"
leaves 0 signpost run db --server alpha -- 'nbdcopy "$uri" - | cmp - "$tmp/alpha/db.raw"'
grep -q 'server alpha is asked' "$tmp/err" || fail "$(cat "$tmp/err")"
leaves 0 signpost run db --server alpha --cow -- qemu-io -f raw -c 'write -P 7 0 4k' '$uri'
mv "$tmp/away" "$catalog"

# A disk that nobody has any more.
kill_server vault
leaves 4 signpost run web01 -- true
grep -q 'signpost where web01 --check' "$tmp/err" || fail "$(cat "$tmp/err")"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target of a copy is killed (kill -9) half-way: nothing is to be seen of the disk there, and
# after a restart the copy goes on where it was. Of the two sources one hangs meanwhile, and is then
# killed: the copy is made from the other.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo jq sqlite3
mkdir -p "$tmp/alpha" "$tmp/beta" "$tmp/gamma"
make_raw "$tmp/beta/vda.raw" 48M 21
cp --sparse=always "$tmp/beta/vda.raw" "$tmp/gamma/vda.raw"
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
start_server gamma "$tmp/gamma"
wait_published beta vda
wait_published gamma vda
signpost verify vda >/dev/null

has_come() {
    signpost jobs "$id" --json | jq -e --argjson bytes "$1" '.done >= $bytes'
}

# Who watches may go: the work goes on.
"$SIGNPOST" --catalog "sqlite:$catalog" copy vda --to alpha --rate 2M 2>"$tmp/watching" &
watching=$!
is_running() {
    signpost jobs -H -o id,state | has running
}
wait_until is_running
id=$(signpost jobs -H -o id)
kill -INT "$watching"
status=0
wait "$watching" || status=$?
[ "$status" = 130 ] || fail "interrupted: status $status"
has "the job goes on; look with: signpost jobs $id" <"$tmp/watching" ||
    fail "$(cat "$tmp/watching")"

# One source hangs: it goes on from the other. That one hangs, too: so it is killed half-way,
# however slow the machine is.
wait_until has_come $((4 << 20))
source=$(signpost jobs "$id" --json | jq -r '.message | sub("copying from "; "")')
other=beta
[ "$source" = gamma ] || other=gamma
kill -STOP "${pid[$source]}"
wait_until has_come $((12 << 20))
kill -STOP "${pid[$other]}"
[ "$(signpost ls -H -o disk)" = vda ] || fail "the copy that is being made is in the catalog"
! nbdinfo --list "${uri[alpha]}" | has "[.]signpost" || fail "the copy is listed"
! nbdinfo "$(disk_uri alpha "local:.signpost/$id")" 2>/dev/null || fail "it is served"
kill_server alpha
[ ! -e "$tmp/alpha/vda.raw" ] || fail "half a copy is to be seen"
there=$(du -k "$tmp/alpha/.signpost/$id.part" | cut -f 1)
[ "$there" -gt 4000 ] || fail "only $there KiB were kept"

# What was kept may have changed: it is read again.
printf 'X' | dd of="$tmp/alpha/.signpost/$id.part" bs=1 seek=100 conv=notrunc status=none
kill_server "$source"
kill -CONT "${pid[$other]}"
sqlite3 "$catalog" "PRAGMA busy_timeout = 5000; UPDATE job SET rate = 0" >/dev/null
restart_server alpha
ended() {
    signpost jobs "$id" --json | jq -e '.state == "done"'
}
wait_until -t 60 ended
cmp "$tmp/alpha/vda.raw" "$tmp/$other/vda.raw"
[ -z "$(find "$tmp/alpha/.signpost" -type f)" ] || fail "something is left in .signpost"
signpost info vda --json | jq -e '.same_content == [["alpha", "beta", "gamma"]]' ||
    fail "the copies do not back each other up"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target of a copy is killed (kill -9) half-way: nothing is to be seen of the disk there, and
# after a restart the copy goes on where it was. Then one of the two sources is killed: the copy is
# finished from the other.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
mkdir -p "$tmp/alpha" "$tmp/beta" "$tmp/gamma"
make_raw "$tmp/beta/vda.raw" 48M 21
cp --sparse=always "$tmp/beta/vda.raw" "$tmp/gamma/vda.raw"
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
start_server gamma "$tmp/gamma"
wait_published beta vda
wait_published gamma vda
signpost verify vda >/dev/null

done_bytes() {
    signpost jobs "$id" --json | jq .done
}
has_come() {
    [ "$(done_bytes)" -ge "$1" ]
}

# Who watches may go: the work goes on.
"$SIGNPOST" --catalog "sqlite:$catalog" copy vda --to alpha --rate 6M 2>"$tmp/watching" &
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
wait_until has_come $((8 << 20))
kill_server alpha
[ ! -e "$tmp/alpha/vda.raw" ] || fail "half a copy is to be seen"
there=$(du -k "$tmp/alpha/.signpost/$id.part" | cut -f 1)
[ "$there" -gt 4000 ] || fail "only $there KiB were kept"

# What was kept may have changed: it is read again.
printf 'X' | dd of="$tmp/alpha/.signpost/$id.part" bs=1 seek=100 conv=notrunc status=none
restart_server alpha
reads_on() {
    signpost jobs "$id" --json | jq -e '.message | startswith("copying from")' &&
        has_come $((16 << 20))
}
wait_until reads_on
source=$(signpost jobs "$id" --json | jq -r '.message | sub("copying from "; "")')
kill_server "$source"
ended() {
    signpost jobs "$id" --json | jq -e '.state == "done"'
}
wait_until -t 20 ended
cmp "$tmp/alpha/vda.raw" "$(ls "$tmp"/beta/vda.raw)"
[ -z "$(find "$tmp/alpha/.signpost" -type f)" ] || fail "something is left in .signpost"
signpost info vda --json | jq -e '.same_content == [["alpha", "beta", "gamma"]]' ||
    fail "the copies do not back each other up"

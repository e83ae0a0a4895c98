#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A copy that does not fit into the repository fails with one line and leaves nothing behind, before
# it begins when that can be known, else when the space is used up; the server goes on.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
mount_tmpfs "$tmp/alpha" 24m
mkdir -p "$tmp/beta"
make_raw "$tmp/beta/large.raw" 64M 41
make_raw "$tmp/beta/small.raw" 12M 42
truncate -s 1G "$tmp/beta/small.raw"
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published beta large
wait_published beta small

expect_full() {
    ! signpost copy "$@" >"$tmp/refused" 2>&1 || fail "copied: $*"
    has 'has no room for it' <"$tmp/refused" || fail "$(cat "$tmp/refused")"
    [ -z "$(find "$tmp/alpha" -type f)" ] || fail "left behind: $(find "$tmp/alpha" -type f)"
}
expect_full large --to alpha

# A sparse one fits; another program then takes the space while the next is copied.
signpost copy small --to alpha >/dev/null
cmp "$tmp/beta/small.raw" "$tmp/alpha/small.raw"
rm "$tmp/alpha/small.raw"
wait_withdrawn alpha small
id=$(signpost copy small --to alpha --rate 8M --detach)
begun() {
    [ -s "$tmp/alpha/.signpost/$id.part" ]
}
wait_until begun
dd if=/dev/zero of="$tmp/alpha/filler" bs=1M count=22 status=none 2>"$tmp/dd" || true
ended() {
    signpost jobs "$id" --json | jq -e '.state == "failed" and (.message | test("no room"))'
}
wait_until ended
rm "$tmp/alpha/filler"
[ -z "$(find "$tmp/alpha" -type f)" ] || fail "left behind: $(find "$tmp/alpha" -type f)"
signpost copy small --to alpha >/dev/null

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `scan`, `add` and `rm` publish and forget; --dry-run changes nothing; images are never touched.
. "$(dirname "$0")/functions.sh"

requires jq
make_raw "$tmp/repo/web01/vda.raw" 1M
make_raw "$tmp/repo/db.img" 1M
echo text >"$tmp/repo/notes.txt"
export SIGNPOST_SERVER=alpha

disks() {
    signpost ls -H -o disk | tr '\n' ' '
}
expect_status() {
    local wanted=$1 status=0
    shift
    signpost "$@" >/dev/null 2>"$tmp/err" || status=$?
    [ "$status" = "$wanted" ] || fail "$*: status $status: $(cat "$tmp/err")"
}

expect_status 5 scan "$tmp/repo"
expect_status 5 scan "$tmp/repo" --uri nbd://127.0.0.1 --dry-run
[ ! -e "$catalog" ] || fail "a refusal or a dry run has made a catalog"
signpost catalog init
expect_status 2 scan "$tmp/repo"
grep -q -- --uri "$tmp/err" || fail "no remedy: $(cat "$tmp/err")"
expect_status 2 scan "$tmp/missing" --uri nbd://127.0.0.1
signpost scan "$tmp/repo" --uri nbd://127.0.0.1 --dry-run >"$tmp/out"
grep -q 'would publish 2 disks (2 new' "$tmp/out" || fail "dry run: $(cat "$tmp/out")"
[ "$(signpost servers --json | jq length)" = 0 ] || fail "a dry run has registered a server"
signpost scan "$tmp/repo" --uri nbd://127.0.0.1
[ "$(disks)" = "db web01/vda " ] || fail "scan: $(disks)"
[ "$(signpost uri web01/vda)" = nbd://127.0.0.1/web01/vda ] || fail "uri: $(signpost uri web01/vda)"

rm "$tmp/repo/db.img"
signpost scan "$tmp/repo"
[ "$(disks)" = "db web01/vda " ] || fail "withdrawn without --prune: $(disks)"
signpost scan "$tmp/repo" --prune
[ "$(disks)" = "web01/vda " ] || fail "prune: $(disks)"

make_raw "$tmp/repo/deep/er/x.raw" 1M
signpost add "$tmp/repo/deep/er/x.raw" --repository "$tmp/repo"
[ "$(disks)" = "deep/er/x web01/vda " ] || fail "add: $(disks)"
expect_status 2 add "$tmp/repo/notes.txt"
expect_status 2 add "$tmp/repo/missing.raw"
expect_status 2 add "$tmp/repo/web01/vda.raw" --repository "$tmp/repo/deep"

signpost rm web01/vda --dry-run
signpost rm web01/vda --server alpha
expect_status 3 rm web01/vda
[ "$(disks)" = "deep/er/x " ] || fail "rm: $(disks)"
[ -f "$tmp/repo/web01/vda.raw" ] || fail "the image is gone"
signpost servers rm alpha
[ "$(disks)" = "" ] || fail "servers rm: $(disks)"
expect_status 3 servers rm alpha

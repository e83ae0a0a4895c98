#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog is lost, and made anew from what its servers wrote down of it: equal, but for when
# somebody was last seen; a foreign server, site costs, digests and generations included.
. "$(dirname "$0")/stubs.inc"

requires nbdkit
make_raw "$tmp/vault/old.raw" 1M 9
start_nbdkit vault file "dir=$tmp/vault"
start_alike start_signpostd
signpost servers add vault "${uri[vault]}" --foreign --site oslo >/dev/null
signpost sites cost oslo rome 30 >/dev/null
signpost servers drain beta >/dev/null
signpost verify >/dev/null

# Times, and what is made of them.
content() {
    signpost catalog export |
        sed -E '/^\{"end"/d; s/"(last_[a-z]+|heartbeat_sequence|published)":[0-9]+/"\1":0/g'
}
sequence() {
    signpost status --json | jq .change_sequence
}
knows_all() {
    jq -e --argjson now "$(sequence)" '.sequence == $now' "$STATE_DIRECTORY/$1/stubs.json"
}
wait_until -t 60 knows_all alpha
wait_until -t 60 knows_all beta
stop_server alpha beta
content >"$tmp/before"
rm "$catalog"*

# One of them was copied elsewhere, and the copy is called otherwise.
mv "$STATE_DIRECTORY/beta" "$tmp/from-beta"
signpost catalog rebuild --from "$STATE_DIRECTORY" --from "$tmp/from-beta/" --json >"$tmp/report"
jq -e '.servers == 3 and .disks == 4 and .disputes == []' "$tmp/report" >/dev/null ||
    fail "$(cat "$tmp/report")"
content >"$tmp/after"
diff "$tmp/before" "$tmp/after" || fail "the catalog is not what it was"

refused_with() { # STATUS WORD...
    local expected=$1 status=0
    shift
    signpost catalog rebuild "$@" >/dev/null 2>"$tmp/err" || status=$?
    [ "$status" = "$expected" ] || fail "rebuild $*: exit status $status: $(cat "$tmp/err")"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "rebuild $*: not one line: $(cat "$tmp/err")"
}
refused_with 8 --from "$tmp/from-beta"
signpost catalog rebuild --merge --from "$tmp/from-beta" >/dev/null
content | diff "$tmp/before" - || fail "merging changed it"

# What one server alone knew of the others.
catalog=$tmp/of-one.db
signpost catalog rebuild --from "$tmp/from-beta" >/dev/null
content | diff "$tmp/before" - || fail "one server did not know everything"

# Nothing to go by, two who say that they are beta, one that is damaged, one of a newer release.
catalog=$tmp/none.db
refused_with 1 --from "$tmp/vault"
refused_with 1 --from "$tmp/nowhere"
cp "$tmp/from-beta/stubs.json" "$STATE_DIRECTORY/alpha/stubs.json"
refused_with 2 --from "$STATE_DIRECTORY" --from "$tmp/from-beta"
sqlite3 "$tmp/from-beta/stubs.db" 'PRAGMA user_version = 99'
refused_with 5 --from "$tmp/from-beta"
head -c 100000 /dev/urandom >"$tmp/from-beta/stubs.db"
refused_with 5 --from "$tmp/from-beta"
[ ! -e "$catalog" ] || fail "a catalog was made of nothing"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `doctor` passes a sound federation, and names a dead server and the disk that it alone has.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/vault/only.raw" 1M
start_nbdkit vault -r file dir="$tmp/vault"
signpost servers add vault "${uri[vault]}" --foreign
signpost doctor

kill_server vault
status=0
signpost doctor --json >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/out")"
[ "$(jq .failures "$tmp/out")" = 2 ] || fail "$(cat "$tmp/out")"
# has_failure CHECK WORD: a failure of that check whose message has the word, with a fix.
has_failure() {
    jq -e --arg check "$1" --arg word "$2" '.findings[] |
        select(.level == "fail" and .check == $check and (.message | contains($word))) | .fix' \
        "$tmp/out" >/dev/null || fail "no failure of $1 with $2: $(cat "$tmp/out")"
}
has_failure server vault
has_failure disks only

status=0
"$SIGNPOST" --catalog "$tmp/missing.db" doctor >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "without a catalog: status $status"
grep -q '^FAIL *catalog' "$tmp/out" || fail "$(cat "$tmp/out")"

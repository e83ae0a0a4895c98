#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two running servers cannot have one name: the second does not start, and says what to do.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo
make_raw "$tmp/one/a.raw" 1M
make_raw "$tmp/two/b.raw" 1M
start_server twin "$tmp/one"
status=0
"${nbdkit_command[@]}" -U - "$PLUGIN" "$tmp/two" "catalog=$catalog" server=twin \
    uri=nbd://127.0.0.1:1 --run true 2>"$tmp/refusal" || status=$?
[ "$status" != 0 ] || fail "the second starts"
grep -q "twin.*server=NAME" "$tmp/refusal" || fail "$(cat "$tmp/refusal")"
[ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "more than one line: $(cat "$tmp/refusal")"
[ "$(nbdinfo --size "$(disk_uri twin a)")" = 1048576 ] || fail "the first is disturbed"

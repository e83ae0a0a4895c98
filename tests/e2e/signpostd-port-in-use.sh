#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A port that another server has: one line that names it, status 1, and no catalog is made.
. "$(dirname "$0")/functions.sh"

start_server alpha
"$SIGNPOSTD" --catalog="$tmp/none.db" --listen="127.0.0.1:${port[alpha]}" 2>"$tmp/refusal" &&
    fail "listens twice"
status=$?
[ "$status" = 1 ] || fail "status $status"
[ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "not one line: $(cat "$tmp/refusal")"
grep -q "127.0.0.1:${port[alpha]}: .*another server" "$tmp/refusal" || fail "$(cat "$tmp/refusal")"
[ ! -e "$tmp/none.db" ] || fail "a catalog was made"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog that a newer release made is refused in one line, by the server and by the command, and
# stays as it is.
. "$(dirname "$0")/functions.sh"

requires nbdkit sqlite3
make_raw "$tmp/alpha/own.raw" 1M
signpost catalog init
sqlite3 "$catalog" 'PRAGMA user_version = 9999; PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
dump() {
    sqlite3 "$catalog" .dump 'PRAGMA user_version' | sha256sum
}
before=$(dump)

if nbdkit --foreground --exit-with-parent --unix="$tmp/a.sock" "$PLUGIN" "$tmp/alpha" \
    "catalog=sqlite:$catalog" server=alpha "uri=nbd+unix:///?socket=$tmp/a.sock" \
    >"$tmp/start" 2>&1; then
    fail "a server starts on a newer catalog"
fi
grep -q 'newer release' "$tmp/start" || fail "the reason is missing: $(cat "$tmp/start")"
if signpost ls 2>"$tmp/err"; then
    fail "the command reads a newer catalog"
fi
grep -q 'newer release' "$tmp/err" || fail "the reason is missing: $(cat "$tmp/err")"
[ "$(dump)" = "$before" ] || fail "the catalog was changed"

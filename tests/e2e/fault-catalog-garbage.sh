#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog file that is no catalog: the server does not start, the command fails, both say so in
# one line that names the file, and the file stays as it is.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/alpha/own.raw" 1M
head -c 100000 /dev/urandom >"$catalog"
cp "$catalog" "$tmp/before"

if nbdkit --foreground --exit-with-parent --unix="$tmp/a.sock" "$PLUGIN" "$tmp/alpha" \
    "catalog=sqlite:$catalog" server=alpha "uri=nbd+unix:///?socket=$tmp/a.sock" \
    >"$tmp/start" 2>&1; then
    fail "a server starts on garbage"
fi
[ "$(grep -c "$catalog" "$tmp/start")" = 1 ] || fail "not one line: $(cat "$tmp/start")"

if signpost ls >"$tmp/out" 2>"$tmp/err"; then
    fail "the command lists garbage"
fi
[ ! -s "$tmp/out" ] || fail "output: $(cat "$tmp/out")"
grep -q "$catalog" "$tmp/err" || fail "the message does not name the file: $(cat "$tmp/err")"
cmp "$catalog" "$tmp/before" || fail "the file was changed"

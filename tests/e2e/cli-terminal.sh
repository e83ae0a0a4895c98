#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A hostile name reaches a terminal escaped, and JSON as it is.
. "$(dirname "$0")/functions.sh"

requires script jq
mkdir "$tmp/repo"
override=$'\xe2\x80\xae' # U+202E shows what follows from right to left
name=a${override}fdp
truncate -s 1M "$tmp/repo/$name.raw"
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1
[ "$(signpost ls --json | jq -r '.[0].name')" = "$name" ] || fail "JSON: $(signpost ls --json)"
[ "$(signpost ls -H -o disk)" = "$name" ] || fail "pipe: $(signpost ls -H -o disk)"
script --quiet --return --command "'$SIGNPOST' --catalog 'sqlite:$catalog' ls" /dev/null \
    >"$tmp/seen" </dev/null
grep -q "$override" "$tmp/seen" && fail "the terminal got it: $(cat -v "$tmp/seen")"
grep -qi '202e' "$tmp/seen" || fail "not shown: $(cat -v "$tmp/seen")"

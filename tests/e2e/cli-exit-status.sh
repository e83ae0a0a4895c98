#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The exit statuses of signpost(1), each with one line on standard error and nothing on the other.
. "$(dirname "$0")/functions.sh"

requires nbdkit
expect_status() {
    local wanted=$1 status=0
    shift
    "$SIGNPOST" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    [ "$status" = "$wanted" ] || fail "$*: status $status, not $wanted: $(cat "$tmp/err")"
    [ ! -s "$tmp/out" ] || fail "$*: data: $(cat "$tmp/out")"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "$*: not one line: $(cat "$tmp/err")"
}
export SIGNPOST_CATALOG=sqlite:$tmp/catalog.db

expect_status 5 ls
grep -q 'signpost catalog init' "$tmp/err" || fail "no remedy: $(cat "$tmp/err")"
[ ! -e "$tmp/catalog.db" ] || fail "ls has made a catalog"
signpost catalog init
expect_status 2 where
expect_status 2 where ../etc/passwd
expect_status 2 --catalog "postgresql://127.0.0.1/x?no-such-word=1" ls
expect_status 5 --catalog postgresql://127.0.0.1:1/x ls
expect_status 3 where nothing
expect_status 3 info nothing
expect_status 3 uri nothing
expect_status 3 rm nothing
expect_status 3 verify nothing
expect_status 3 find nothing
expect_status 3 uri nothing --server nobody
expect_status 4 servers add vault "nbd+unix:///?socket=$tmp/missing" --foreign
expect_status 7 servers add vault nbd://127.0.0.1:22 --foreign
signpost servers add alpha nbd://127.0.0.1
start_nbdkit vault memory 1M
expect_status 8 servers add alpha "${uri[vault]}" --foreign
[ "$(signpost ls)" = "$(signpost ls nothing)" ] || fail "a conflict has published something"
head -c 100000 /dev/urandom >"$tmp/garbage.db"
expect_status 5 --catalog "$tmp/garbage.db" ls

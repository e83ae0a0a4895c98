#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog that is garbage, or newer than this release, stops the start with one line, and stays as
# it is.
. "$(dirname "$0")/functions.sh"

requires nbdkit sqlite3
make_raw "$tmp/repository/a.raw" 1M
refused() {
    local sum status=0
    sum=$(sha256sum <"$1")
    "${nbdkit_command[@]}" -U - "$PLUGIN" "$tmp/repository" "catalog=$1" --run true \
        2>"$tmp/refusal" || status=$?
    [ "$status" != 0 ] || fail "$1 is accepted"
    [ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "more than one line: $(cat "$tmp/refusal")"
    grep -q "$1" "$tmp/refusal" || fail "the line does not name the file: $(cat "$tmp/refusal")"
    [ "$(sha256sum <"$1")" = "$sum" ] || fail "$1 was changed"
}
head -c 65536 /dev/urandom >"$tmp/garbage.db"
refused "$tmp/garbage.db"
start_server alpha "$tmp/repository"
stop_server alpha
sqlite3 "$catalog" 'PRAGMA wal_checkpoint(TRUNCATE); PRAGMA user_version = 1000' >/dev/null
refused "$catalog"

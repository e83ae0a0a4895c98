#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# signpost catalog migrate is killed at one system call after the other: the target is not there,
# empty, or whole, or says that it is half imported; and done again it is whole. With SQLite and
# PostgreSQL as the target; and so is an export into a file. SIGNPOST_KILL=all for every call.
. "$(dirname "$0")/functions.sh"
. "$here/every-call.inc"
. "$here/postgres.inc"

requires strace
for number in 1 2 3; do
    make_raw "$tmp/images/vm$number/vda.raw" 1M "$number"
done
signpost --server alpha --uri nbd://127.0.0.1:10809 scan "$tmp/images" >/dev/null
signpost sites cost oslo rome 30 >/dev/null
signpost catalog export "$tmp/whole" >/dev/null

content() {
    "$SIGNPOST" --catalog "$target" catalog export 2>"$tmp/err"
}
has_no_disks() {
    [ -z "$("$SIGNPOST" --catalog "$target" ls 2>/dev/null)" ]
}
is_old_or_new() {
    local status=0
    content >"$tmp/now" || status=$?
    if [ "$status" = 5 ]; then
        is_absent || grep -q "half imported" "$tmp/err" || fail "killed at $1: $(cat "$tmp/err")"
    elif [ "$status" != 0 ] || ! cmp -s "$tmp/now" "$tmp/whole"; then
        has_no_disks || fail "killed at $1 the target has: $(cat "$tmp/err" "$tmp/now")"
    fi
    if ! cmp -s "$tmp/now" "$tmp/whole"; then
        signpost catalog migrate "$target" >/dev/null || fail "killed at $1 it cannot be repeated"
        content | cmp - "$tmp/whole" || fail "killed at $1 and repeated it is not equal"
    fi
}

target=$tmp/target.db
no_file() {
    rm -f "$target"*
}
# shellcheck disable=SC2317 # called by is_old_or_new
is_absent() {
    [ ! -e "$target" ]
}
every_call no_file is_old_or_new "$SIGNPOST" --catalog "$catalog" catalog migrate "$target"
echo "to SQLite: killed $kills times"
[ "$kills" -gt 15 ] || fail "only $kills kills: $(tail -n 3 "$tmp/killed.log")"

start_postgres database
target=${postgres_uri[database]}
no_tables() {
    ask_postgres database \
        'SET client_min_messages = warning; DROP SCHEMA IF EXISTS signpost CASCADE'
}
is_absent() {
    local schemas="SELECT count(*) FROM pg_namespace WHERE nspname = 'signpost'"
    [ "$(ask_postgres database "$schemas")" = 0 ]
}
every_call no_tables is_old_or_new "$SIGNPOST" --catalog "$catalog" catalog migrate "$target"
echo "to PostgreSQL: killed $kills times"
[ "$kills" -gt 3 ] || fail "only $kills kills: $(tail -n 3 "$tmp/killed.log")"

no_export() {
    rm -f "$tmp/export"
}
is_no_file_or_whole() {
    [ ! -e "$tmp/export" ] || cmp "$tmp/export" "$tmp/whole" || fail "killed at $1: a part of it"
    no_export
    signpost catalog export "$tmp/export" >/dev/null || fail "killed at $1 it cannot be repeated"
    cmp "$tmp/export" "$tmp/whole"
}
every_call no_export is_no_file_or_whole "$SIGNPOST" --catalog "$catalog" catalog export \
    "$tmp/export"
echo "to a file: killed $kills times"
[ "$kills" -gt 5 ] || fail "only $kills kills: $(tail -n 3 "$tmp/killed.log")"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# signpost scan is killed at one system call after the other: the catalog has the old state or the
# new one, never a part of it, and the next scan makes the new one. With SQLite, with no catalog
# before, and with PostgreSQL; and so is signpost catalog init. SIGNPOST_KILL=all for every call.
. "$(dirname "$0")/functions.sh"
. "$here/every-call.inc"
. "$here/postgres.inc"

requires strace
for number in 1 2 3 4; do
    make_raw "$tmp/old/vm$number/vda.raw" 1M "$number"
done
cp -r "$tmp/old" "$tmp/new"
rm -r "$tmp/new/vm1"
truncate -s 2M "$tmp/new/vm2/vda.raw"
make_raw "$tmp/new/vm5/vda.raw" 1M 5

state() {
    signpost ls --json=lines
}
scan() {
    signpost --server alpha --uri nbd://127.0.0.1:10809 scan --prune "$@" >/dev/null
}
make_old() {
    scan "$tmp/old"
}
make_none() {
    rm -f "$catalog"*
}
is_whole() {
    local now
    now=$(state)
    [ "$now" = "$old" ] || [ "$now" = "$new" ] || fail "after a kill at $1 the catalog has: $now"
    scan "$tmp/new"
    [ "$(state)" = "$new" ] || fail "after a kill at $1 another scan gives: $(state)"
}
is_whole_or_absent() {
    local old=""
    [ ! -e "$catalog" ] || { is_whole "$1" && return; }
    scan "$tmp/new"
    [ "$(state)" = "$new" ] || fail "after a kill at $1 another scan gives: $(state)"
}

# Of what happens only the publication is to be seen.
rounds() {
    scan "$tmp/new"
    new=$(state)
    make_old
    old=$(state)
    [ "$old" != "$new" ] || fail "the two states are the same"
    every_call "$1" "$2" "$SIGNPOST" --catalog "$(catalog_url)" --server alpha \
        --uri nbd://127.0.0.1:10809 scan --prune "$tmp/new"
    echo "$3: killed $kills times"
    [ "$kills" -gt "$4" ] || fail "only $kills kills: $(tail -n 3 "$tmp/killed.log")"
}

rounds make_old is_whole "SQLite" 15
rounds make_none is_whole_or_absent "SQLite, from nothing" 20
start_postgres database
catalog=${postgres_uri[database]}
signpost catalog init >/dev/null
rounds make_old is_whole "PostgreSQL" 3

# The tables themselves, all or none.
make_no_tables() {
    ask_postgres database \
        'SET client_min_messages = warning; DROP SCHEMA IF EXISTS signpost CASCADE'
}
has_tables_or_none() {
    local tables
    tables=$(ask_postgres database "SELECT count(*) FROM pg_namespace WHERE nspname = 'signpost'")
    [ "$tables" = 0 ] || signpost ls >/dev/null || fail "after a kill at $1 the tables are no use"
    signpost catalog init >/dev/null || fail "after a kill at $1 the tables cannot be made"
    scan "$tmp/new"
    [ "$(state)" = "$new" ] || fail "after a kill at $1 a scan gives: $(state)"
}
every_call make_no_tables has_tables_or_none "$SIGNPOST" --catalog "$catalog" catalog init
echo "PostgreSQL, the tables: killed $kills times"
[ "$kills" -gt 2 ] || fail "only $kills kills"

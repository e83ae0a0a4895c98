#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Rows written into the catalog by hand: a server whose URI would start a program, name a file, or
# reach an address that no relay may dial. None is dialled, no program starts, and the server goes
# on.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo sqlite3 jq
make_raw "$tmp/alpha/own.raw" 1M 1
make_raw "$tmp/beta/other.raw" 1M 2
start_server alpha "$tmp/alpha" peer-timeout=2
start_server beta "$tmp/beta"
wait_published beta other
same_bytes "$(disk_uri alpha other)" "$tmp/beta/other.raw"

# The column that holds beta's URIs, whatever it is called.
old=${uri[beta]}
place=$(sqlite3 "$catalog" .dump | grep -F "$old" | sed -n 's/^INSERT INTO \([a-z_]*\).*/\1/p' |
    head -n 1)
[ -n "$place" ] || fail "no table holds $old"
columns=$(sqlite3 "$catalog" "SELECT name FROM pragma_table_info('$place')")
put() {
    local column
    for column in $columns; do
        sqlite3 -cmd '.timeout 5000' "$catalog" \
            "UPDATE $place SET $column = replace($column, '$old', '$1')
             WHERE typeof($column) = 'text' AND instr($column, '$old')"
    done
    old=$1
}

for hostile in "nbd+ssh://-oProxyCommand=touch%20$tmp/started/x" "nbd+vsock://2:10809" \
    "nbd://169.254.1.1:10809" "nbd://224.0.0.1:10809" "nbd://127.0.0.1:22" \
    "nbd+unix:///?socket=relative" "http://127.0.0.1:10809" "nbd://user@127.0.0.1:10809"; do
    put "$hostile"
    sqlite3 "$catalog" .dump | has -F "$hostile" || fail "the row was not written: $hostile"
    if timeout 20 nbdcopy "$(disk_uri alpha other)" "$tmp/copy" 2>/dev/null; then
        fail "a disk is served though its server is $hostile"
    fi
    [ ! -e "$tmp/started" ] || fail "a program was started"
    same_bytes "$(disk_uri alpha own)" "$tmp/alpha/own.raw"
done

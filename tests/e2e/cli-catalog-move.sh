#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog is exported, imported, migrated and made anew from servers' memories, each time equal; a
# file that was cut or edited, and a half imported catalog, are refused in one line.
. "$(dirname "$0")/functions.sh"

requires sqlite3
at() { # CATALOG WORD...
    "$SIGNPOST" --catalog "$@"
}
fails_with() { # STATUS COMMAND...
    local expected=$1 status=0
    shift
    "$@" >/dev/null 2>"$tmp/err" || status=$?
    [ "$status" -eq "$expected" ] || fail "$*: exit status $status: $(cat "$tmp/err")"
}

make_raw "$tmp/alpha/web01/vda.raw" 1M
make_raw "$tmp/alpha/web02/vda.raw" 1M
make_raw "$tmp/beta/web01/vda.raw" 1M
signpost scan "$tmp/alpha" --server alpha --uri nbd://127.0.0.1:10811 >/dev/null
signpost scan "$tmp/beta" --server beta --uri nbd://127.0.0.1:10812 >/dev/null

signpost catalog export "$tmp/first"
signpost catalog export | cmp - "$tmp/first"
fails_with 8 signpost catalog export "$tmp/first"

# A copy, by a file and by standard input.
at "$tmp/copy.db" catalog import "$tmp/first" 2>/dev/null
at "$tmp/copy.db" catalog export | cmp - "$tmp/first"
at "$tmp/piped.db" catalog import - <"$tmp/first" 2>/dev/null
at "$tmp/piped.db" catalog export | cmp - "$tmp/first"
fails_with 8 at "$tmp/copy.db" catalog import "$tmp/first"
at "$tmp/copy.db" catalog import --merge "$tmp/first" 2>/dev/null
at "$tmp/copy.db" catalog export | cmp - "$tmp/first"
signpost catalog migrate "$tmp/moved.db" 2>/dev/null
at "$tmp/moved.db" catalog export | cmp - "$tmp/first"

# Bad files change nothing.
head -n -1 "$tmp/first" >"$tmp/cut"
sed 's/"size":1048576/"size":1048577/' "$tmp/first" >"$tmp/edited"
sed 's/"signpost_catalog":1/"signpost_catalog":2/' "$tmp/first" >"$tmp/newer"
for bad in cut edited newer; do
    fails_with 1 at "$tmp/new.db" catalog import "$tmp/$bad"
    [ ! -e "$tmp/new.db" ] || fail "a $bad file made a catalog"
    grep -q 'line [0-9]' "$tmp/err" || fail "no line number for $bad: $(cat "$tmp/err")"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "more than one line for $bad"
done

# Half imported: refused until the import is repeated.
sqlite3 "$tmp/copy.db" 'UPDATE catalog_state SET importing = 1'
fails_with 5 at "$tmp/copy.db" ls
grep -q 'half imported' "$tmp/err" || fail "no word of the half import: $(cat "$tmp/err")"
at "$tmp/copy.db" catalog import "$tmp/first" 2>/dev/null
at "$tmp/copy.db" catalog export | cmp - "$tmp/first"

# Lost, and made anew from what two servers remember.
mkdir -p "$tmp/memory/alpha" "$tmp/memory/beta"
cp "$tmp/copy.db" "$tmp/memory/alpha/stubs.db"
cp "$tmp/copy.db" "$tmp/memory/beta/stubs.db"
at "$tmp/anew.db" catalog rebuild --from "$tmp/memory" 2>/dev/null
at "$tmp/anew.db" catalog export | cmp - "$tmp/first"
fails_with 1 at "$tmp/none.db" catalog rebuild --from "$tmp/alpha"

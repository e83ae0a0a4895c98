#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog is exported, imported and migrated, from SQLite to PostgreSQL and back, each time equal;
# files that were cut or edited, catalogs that are not empty, half imported or of another release
# are refused in one line, and nothing is lost.
. "$(dirname "$0")/functions.sh"
. "$here/postgres.inc"

requires sqlite3 jq
at() { # CATALOG WORD...
    "$SIGNPOST" --catalog "$@"
}
# In one line on standard error, which is in $said.
fails_with() { # STATUS COMMAND...
    local expected=$1 status=0
    shift
    "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    said=$(cat "$tmp/err")
    [ "$status" -eq "$expected" ] || fail "$*: exit status $status: $said"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "$*: not one line: $said"
}
says() {
    [[ $said == *"$1"* ]] || fail "no word of \"$1\": $said"
}
equals() { # CATALOG FILE
    at "$1" catalog export | cmp - "$2"
}

make_raw "$tmp/alpha/web01/vda.raw" 1M
make_raw "$tmp/alpha/web02/vda.raw" 1M
make_raw "$tmp/beta/web01/vda.raw" 1M
signpost scan "$tmp/alpha" --server alpha --uri nbd://127.0.0.1:10811 >/dev/null
signpost scan "$tmp/beta" --server beta --uri nbd://127.0.0.1:10812 >/dev/null
signpost sites cost oslo rome 30 >/dev/null
signpost servers drain beta >/dev/null
sqlite3 "$catalog" "UPDATE location SET read_only = 0;
    INSERT INTO writer VALUES ('web01/vda', 'beta', 'uid 7', 4, 0)"

first=$tmp/first
signpost catalog export "$first" >/dev/null
equals "$catalog" "$first"
grep -q '"fence":4' "$first" || fail "who wrote last is not in it"
fails_with 8 signpost catalog export "$first"
says "is there already"

# A copy, by a file and by standard input; into itself.
at "$tmp/copy.db" catalog import "$first" >/dev/null
equals "$tmp/copy.db" "$first"
at "$tmp/piped.db" catalog import - <"$first" --json |
    jq -e '.servers == 2 and .disks == 2 and .of_one_moment and .skipped_rows == 0' >/dev/null
equals "$tmp/piped.db" "$first"
fails_with 8 at "$tmp/copy.db" catalog import "$first"
says "not empty"
fails_with 8 signpost catalog migrate "$catalog"
at "$tmp/copy.db" catalog import --merge "$first" >/dev/null
equals "$tmp/copy.db" "$first"
sqlite3 "$tmp/copy.db" "DELETE FROM location WHERE size > 0; DELETE FROM disk;
    UPDATE catalog_state SET disks = 0, locations = 0"
at "$tmp/copy.db" catalog import --merge "$first" >/dev/null
equals "$tmp/copy.db" "$first"

# To PostgreSQL and back.
start_postgres database
database=${postgres_uri[database]}
signpost catalog migrate "$database" >/dev/null
equals "$database" "$first"
fails_with 8 signpost catalog migrate "$database"
at "$database" catalog migrate "$tmp/back.db" >/dev/null
equals "$tmp/back.db" "$first"
[ "$(at "$tmp/back.db" ls --json | jq length)" = 2 ] || fail "the catalog that came back is no use"
ask_postgres database 'DROP SCHEMA signpost CASCADE' 2>/dev/null
at "$database" catalog import "$first" >/dev/null
equals "$database" "$first"

# Files that are not as they were written change nothing.
head -n -1 "$first" >"$tmp/cut"
head -c -20 "$first" >"$tmp/shorter"
sed 's/"size":1048576/"size":1048577/' "$first" >"$tmp/edited"
sed 's/"signpost_catalog":1/"signpost_catalog":2/' "$first" >"$tmp/newer"
sed 's/nbd:..127.0.0.1:10811/nbd+ssh:\/\/x/' "$first" >"$tmp/hostile"
head -c 20000000 /dev/zero >"$tmp/zeros"
: >"$tmp/empty"
for bad in cut shorter edited newer hostile zeros empty; do
    fails_with 1 at "$tmp/new.db" catalog import "$tmp/$bad"
    says ": line "
    [ ! -e "$tmp/new.db" ] || fail "a file that is $bad made a catalog"
done
fails_with 1 at "$tmp/new.db" catalog import "$tmp/nowhere"

# Half imported: refused until the import is repeated.
sqlite3 "$tmp/copy.db" 'UPDATE catalog_state SET importing = 1'
ask_postgres database 'UPDATE signpost.catalog_state SET importing = true'
for half in "$tmp/copy.db" "$database"; do
    fails_with 5 at "$half" ls
    says "half imported"
    fails_with 5 at "$half" catalog migrate "$tmp/new.db"
    at "$half" catalog import "$first" >/dev/null
    equals "$half" "$first"
done

# Of another release: refused, and kept.
sqlite3 "$tmp/back.db" 'PRAGMA user_version = 99'
ask_postgres database 'UPDATE signpost.catalog_state SET schema_version = 99'
for newer in "$tmp/back.db" "$database"; do
    fails_with 5 at "$newer" catalog export
    says "newer"
    fails_with 5 signpost catalog migrate "$newer"
    says "newer"
done
sqlite3 "$tmp/back.db" 'PRAGMA user_version = 4'
equals "$tmp/back.db" "$first"

# Rows that break the rules stay behind, and that is said.
sqlite3 "$tmp/back.db" "UPDATE location SET size = -1
    WHERE disk_id = (SELECT id FROM disk WHERE name = 'web02/vda')"
at "$tmp/back.db" catalog export "$tmp/rest" >/dev/null 2>"$tmp/err"
grep -q 'rows broke the rules' "$tmp/err" || fail "no word of the odd row: $(cat "$tmp/err")"
at "$tmp/rest.db" catalog import "$tmp/rest" >/dev/null

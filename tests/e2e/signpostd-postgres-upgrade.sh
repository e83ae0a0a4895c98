#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A new release comes to a PostgreSQL catalog of the one before, in which servers may not make
# tables: the server serves its own images, and says who has to run what. Once the
# database's owner has, it publishes by itself, and may write to the table that is new.
. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/postgres.inc"

requires nbdcopy nbdinfo jq
start_postgres main
owner=${postgres_uri[main]}
catalog=$owner
signpost catalog init
ask_postgres main "DROP TABLE signpost.boot_profile;
    UPDATE signpost.catalog_state SET schema_version = 1;
    CREATE ROLE beta LOGIN IN ROLE signpost_server"
catalog=${owner/signpost_tests/beta}

make_raw "$tmp/beta/vda.raw" 8M 1
start_server beta "$tmp/beta"
same_bytes "$tmp/beta/vda.raw" "$(disk_uri beta vda)"
said='let the owner of its tables run, with this release: signpost catalog init'
wait_until grep -qF "$said" "$tmp/beta.log"
! signpost ls 2>"$tmp/refused" || fail "the command makes do with the old tables"
has -F "$said" <"$tmp/refused" || fail "$(cat "$tmp/refused")"
[ "$(wc -l <"$tmp/refused")" -le 2 ] || fail "more than it needs: $(cat "$tmp/refused")"

STATE_DIRECTORY=$tmp/owner "$SIGNPOST" --catalog "$owner" catalog init
wait_published beta vda
# Of the catalog, and of what cannot be published.
[ "$(grep -cF "$said" "$tmp/beta.log")" -le 2 ] || fail "it was said again and again"
signpost ls | has vda || fail "it is not listed"
nbdcopy "$(disk_uri beta vda)" null:
profiles() {
    [ "$(ask_postgres main 'SELECT count(*) FROM signpost.boot_profile')" -ge 1 ]
}
wait_until profiles

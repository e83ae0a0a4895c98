#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `doctor` names what is wrong with disks: copies that differ, are damaged or stale, fewer than
# wished, and jobs that are stuck or have failed.
. "$(dirname "$0")/functions.sh"
. "$here/doctor.inc"

requires sqlite3 nbdkit
make_raw "$tmp/alpha/same.raw" 1M 1
make_raw "$tmp/beta/same.raw" 2M 2
for server in alpha beta; do
    start_nbdkit "$server" -r file dir="$tmp/$server"
    signpost servers add "$server" "${uri[$server]}" --foreign
done
finds copies fail same 'signpost rm DISK --server NAME'
signpost rm same --server beta --yes

printf '[[copies]]\ndisks = "sa*"\ncopies = 2\n' >"$tmp/wishes.toml"
finds wished warn same 'signpost repair' --config "$tmp/wishes.toml"

sqlite3 "$catalog" "UPDATE location SET state = 2"
finds state warn same 'signpost info DISK'
sqlite3 "$catalog" "UPDATE location SET state = 3"
finds damaged fail same 'signpost repair'
sqlite3 "$catalog" "UPDATE location SET state = 0"
finds_nothing --bytes

# A job whose server is away for long; one that has failed.
make_raw "$tmp/gamma/db.raw" 1M
mkdir "$tmp/delta"
for server in gamma delta; do
    start_signpostd "$server" "$tmp/$server"
done
wait_published gamma db
stop_server delta
signpost copy db --to delta --detach
sqlite3 "$catalog" 'UPDATE job SET updated = updated - 3600'
finds jobs warn 'has not moved for 60 min' 'start server delta'
sqlite3 "$catalog" "UPDATE job SET state = 3, message = 'no room', updated = updated + 3600"
finds jobs warn 'no room' 'begin it again'

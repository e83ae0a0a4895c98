#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `doctor` names what is wrong with an embedded catalog: absent, damaged, of a newer release,
# locked, with rows that break the rules, or where nobody can write; and a URL that is none.
. "$(dirname "$0")/functions.sh"
. "$here/doctor.inc"

requires sqlite3
whole=$catalog
catalog=$tmp/none.db
finds catalog fail 'is not there' 'signpost catalog init'
catalog=gopher://x
catalog_url() { echo "$catalog"; }
finds catalog fail gopher 'correct the URL'
catalog_url() { echo "sqlite:$catalog"; }

make_raw "$tmp/repo/web01.raw" 1M
catalog=$whole
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1:1

cp "$whole" "$tmp/newer.db"
sqlite3 "$tmp/newer.db" 'PRAGMA user_version = 99'
catalog=$tmp/newer.db
finds catalog fail newer 'newer release'

truncate -s 64K "$tmp/damaged.db"
printf garbage | dd of="$tmp/damaged.db" conv=notrunc status=none
catalog=$tmp/damaged.db
finds catalog fail 'no Signpost catalog' 'catalog rebuild'

# Somebody holds its lock, and does not let go.
cp "$whole" "$tmp/locked.db"
catalog=$tmp/locked.db
coproc holder { exec sqlite3 "$tmp/locked.db"; }
# shellcheck disable=SC2154 # coproc sets it
cleanup_fn kill "$holder_PID"
echo 'PRAGMA journal_mode=DELETE; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; SELECT 1;' \
    >&"${holder[1]}"
read -r -u "${holder[0]}" _
finds catalog fail lock 'fuser'

# A row that breaks the rules.
cp "$whole" "$tmp/hostile.db"
catalog=$tmp/hostile.db
sqlite3 "$tmp/hostile.db" "UPDATE disk SET name = '../etc' WHERE name = 'web01'"
finds rows fail 'break its rules' 'signpost scan'

# A file system that is read-only.
mount_tmpfs "$tmp/ro" 4M
cp "$whole" "$tmp/ro/catalog.db"
mount -o remount,ro "$tmp/ro"
catalog=$tmp/ro/catalog.db
finds catalog warn 'not be changed' findmnt

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog cannot be reached: own disks are served all the same, a disk of others is an error,
# and when the catalog is there the server publishes in it.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo jq
make_raw "$tmp/repository/a.raw" 1M
catalog=$tmp/mount/catalog.db
start_server alpha "$tmp/repository"
grep -q "$tmp/mount" "$tmp/alpha.log" || fail "the log does not name the catalog"
same_bytes "$(disk_uri alpha a)" "$tmp/repository/a.raw"
nbdinfo --list "${uri[alpha]}" | has 'export="a"' || fail "own disks are not listed"
if nbdinfo --size "$(disk_uri alpha elsewhere)" 2>/dev/null; then
    fail "a disk from nowhere"
fi
mkdir "$tmp/mount"
wait_until -t 60 is_published alpha a

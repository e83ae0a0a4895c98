#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Files that come, are renamed and go while the server runs: the catalog follows, and peers relay
# what is there now.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo jq
mkdir "$tmp/beta"
start_server beta "$tmp/beta"
start_server alpha
make_raw "$tmp/beta/new/a.raw" 1M
wait_published beta new/a
same_bytes "$(disk_uri alpha new/a)" "$tmp/beta/new/a.raw"
mv "$tmp/beta/new/a.raw" "$tmp/beta/new/b.raw"
wait_withdrawn beta new/a
wait_published beta new/b
same_bytes "$(disk_uri alpha new/b)" "$tmp/beta/new/b.raw"
mv "$tmp/beta/new" "$tmp/beta/moved"
wait_published beta moved/b
rm -r "$tmp/beta/moved"
wait_withdrawn beta moved/b
if nbdinfo --size "$(disk_uri alpha moved/b)" 2>/dev/null; then
    fail "a withdrawn disk opens"
fi

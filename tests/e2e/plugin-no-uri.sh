#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Without uri= a server serves its images and publishes none, and says so.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo jq
make_raw "$tmp/repository/a.raw" 1M
start_nbdkit alpha "$PLUGIN" "$tmp/repository" "catalog=$catalog" server=alpha
same_bytes "$(disk_uri alpha a)" "$tmp/repository/a.raw"
nbdinfo --list "${uri[alpha]}" | has 'export="a"' || fail "it is not listed"
grep -q "publishes no location" "$tmp/alpha.log" || fail "it does not say so"
[ "$(signpost ls --json | jq length)" = 0 ] || fail "it has published something"

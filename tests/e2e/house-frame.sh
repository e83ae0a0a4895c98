#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The frame itself: two nbdkit servers on ports of their own, the same bytes from both; a killed one
# comes back on the same port.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo
make_raw "$tmp/a.raw" 4M 7
start_nbdkit one file "$tmp/a.raw"
start_nbdkit_unix two file "$tmp/a.raw"
same_bytes "${uri[one]}" "$(disk_uri two "")"
[ "$(stat -c %b "$tmp/a.raw")" -lt 8192 ] || fail "make_raw makes no holes"

before=${port[one]}
kill_server one
restart_server one
same_bytes "nbd://127.0.0.1:$before" "$tmp/a.raw"

make_raw "$tmp/b.raw" 4M 8
if (same_bytes "$tmp/a.raw" "$tmp/b.raw") >/dev/null 2>&1; then
    fail "same_bytes cannot fail"
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With several disks there is no default export: it is refused, and the log says why.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo
make_raw "$tmp/repository/a.raw" 1M
start_server alpha "$tmp/repository"
[ "$(nbdinfo --size "${uri[alpha]}")" = 1048576 ] || fail "one disk: not the default"
make_raw "$tmp/repository/b.raw" 1M
wait_published alpha b
if nbdinfo --size "${uri[alpha]}" 2>"$tmp/refusal"; then
    fail "a default export among two disks"
fi
grep -q "several disks; ask for one by name" "$tmp/alpha.log" || fail "the log does not say why"

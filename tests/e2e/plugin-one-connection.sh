#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client of a relayed disk connects to the server that it asked, and to nobody else.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy strace
make_raw "$tmp/beta/a.raw" 8M
start_server beta "$tmp/beta"
start_server alpha
wait_published beta a
strace -f -e trace=connect -o "$tmp/connects" nbdcopy "$(disk_uri alpha a)" "$tmp/copy.raw"
cmp "$tmp/copy.raw" "$tmp/beta/a.raw"
grep AF_INET "$tmp/connects" | has "htons(${port[alpha]})" || fail "no connection to alpha"
if grep AF_INET "$tmp/connects" | grep -v "htons(${port[alpha]})"; then
    fail "a connection to somebody else"
fi

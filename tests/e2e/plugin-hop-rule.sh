#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `local:NAME` is served by who holds the disk, and never relayed or listed.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo nbdcopy
make_raw "$tmp/beta/a.raw" 1M
start_server beta "$tmp/beta"
start_server alpha
wait_published beta a
same_bytes "$(disk_uri beta local:a)" "$tmp/beta/a.raw"
same_bytes "$(disk_uri alpha a)" "$tmp/beta/a.raw"
if nbdinfo --size "$(disk_uri alpha local:a)" 2>"$tmp/refusal"; then
    fail "alpha relays local:a"
fi
if nbdinfo --list "${uri[beta]}" | grep local:; then
    fail "local: is listed"
fi

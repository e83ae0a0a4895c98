#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog's file goes while servers run: open sessions read on, local or relayed, and a server's
# own disks open.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy jq
make_raw "$tmp/alpha/own.raw" 4M 1
make_raw "$tmp/beta/other.raw" 4M 2
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published alpha own
wait_published beta other

open_session "$(disk_uri alpha other)"
expect_read 0 65536 "$tmp/beta/other.raw"
rm "$catalog"*
expect_read 1048576 1048576 "$tmp/beta/other.raw"
same_bytes "$(disk_uri alpha own)" "$tmp/alpha/own.raw"
expect_read 0 4194304 "$tmp/beta/other.raw"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Signpost server that somebody registered as a foreign one: alpha relays from "mirror", which is
# alpha itself. No loop comes of it: an error within seconds, and the server goes on.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq nbdcopy
make_raw "$tmp/beta/a.raw" 1M 1
make_raw "$tmp/alpha/own.raw" 1M 2
start_server beta "$tmp/beta"
start_server alpha "$tmp/alpha"
wait_published beta a
wait_published alpha own
signpost servers add mirror "${uri[alpha]}" --foreign
kill_server beta
cannot_read "$(disk_uri alpha a)" 15000
open_session "$(disk_uri alpha own)"
expect_read 0 65536 "$tmp/alpha/own.raw"

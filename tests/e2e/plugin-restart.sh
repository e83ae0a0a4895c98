#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that was killed comes back under its name at once: the lease of its former self does not
# stand in its way.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/repository/a.raw" 1M
start_server alpha "$tmp/repository"
wait_published alpha a
kill_server alpha
restart_server alpha
same_bytes "$(disk_uri alpha a)" "$tmp/repository/a.raw"
stop_server alpha
restart_server alpha
same_bytes "$(disk_uri alpha a)" "$tmp/repository/a.raw"

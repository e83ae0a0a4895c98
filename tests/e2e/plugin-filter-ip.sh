#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The ip filter decides who may ask: allowed clients are served, others are not. (Debian 12 builds
# the filter without the means to read addresses; its keywords work.)
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo
requires_nbdkit filter ip
make_raw "$tmp/repository/a.raw" 1M
start_server alpha --filter=ip -- "$tmp/repository" allow=anyipv4 deny=all
start_server beta --filter=ip -- "$tmp/repository" allow=anyipv6 deny=all
nbdinfo --size "$(disk_uri alpha a)" >/dev/null || fail "an allowed client is refused"
if nbdinfo --size "$(disk_uri beta a)" 2>/dev/null; then
    fail "another client is served"
fi

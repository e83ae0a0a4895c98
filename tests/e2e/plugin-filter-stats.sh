#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The stats filter counts what was read through the plugin.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
requires_nbdkit filter stats
make_raw "$tmp/repository/a.raw" 4M
start_server alpha --filter=stats -- "$tmp/repository" statsfile="$tmp/stats"
nbdcopy --no-extents "$(disk_uri alpha a)" "$tmp/copy.raw"
stop_server alpha
grep -Eq '^read: [1-9][0-9]* ops, .*4[.]00 MiB' "$tmp/stats" || fail "$(cat "$tmp/stats")"

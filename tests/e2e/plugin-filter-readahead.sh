#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The readahead filter works with the plugin (it needs .cache), and the bytes are the same.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
requires_nbdkit filter readahead
make_raw "$tmp/beta/a.raw" 16M 1
start_server beta "$tmp/beta"
start_server alpha --filter=readahead --
wait_published beta a
nbdcopy --synchronous "$(disk_uri alpha a)" "$tmp/copy.raw"
cmp "$tmp/copy.raw" "$tmp/beta/a.raw"
if grep -i "does not support" "$tmp/alpha.log"; then
    fail "readahead says that it cannot work"
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The frame's session: reads what the file has, says EIO when the server does, and tells other
# bytes.
. "$(dirname "$0")/functions.sh"

requires nbdkit
requires_nbdkit filter error
make_raw "$tmp/a.raw" 1M 3
make_raw "$tmp/b.raw" 1M 4
start_nbdkit one --filter=error file "$tmp/a.raw" error-pread=EIO error-pread-rate=100% \
    error-pread-file="$tmp/broken"
open_session "${uri[one]}"
expect_read 4096 65536 "$tmp/a.raw"
touch "$tmp/broken"
ask read 0 4096
[ "$answer" = EIO ] || fail "answer: $answer"
rm "$tmp/broken"
reads_right 0 4096 "$tmp/a.raw" || fail "the session does not go on"
if reads_right 0 4096 "$tmp/b.raw"; then
    fail "other bytes are not noticed"
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An image is deleted under an open session: it reads on as it was or gives errors, but no other
# bytes; a new session is refused.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo
make_raw "$tmp/repository/a.raw" 4M 1
make_raw "$tmp/repository/b.raw" 4M 2
cp "$tmp/repository/a.raw" "$tmp/old.raw"
start_server alpha "$tmp/repository"
open_session "$(disk_uri alpha a)"
expect_read 0 65536 "$tmp/old.raw"
rm "$tmp/repository/a.raw"
for offset in 0 2097152; do
    ask read "$offset" 65536
    [ "$answer" = EIO ] || [ "$answer_data" = "$(sha256_of "$offset" 65536 "$tmp/old.raw")" ] ||
        fail "other bytes at $offset: $answer"
done
if nbdinfo --size "$(disk_uri alpha a)" 2>/dev/null; then
    fail "a new session opens a deleted image"
fi
nbdinfo --size "$(disk_uri alpha b)" >/dev/null || fail "the other disk is gone, too"

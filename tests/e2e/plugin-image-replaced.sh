#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An image is replaced by renaming another over it: an open session never sees the new bytes, and
# the next one sees nothing else. The same through a relay.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
make_raw "$tmp/beta/a.raw" 4M 1
make_raw "$tmp/new.raw" 4M 2
cp "$tmp/beta/a.raw" "$tmp/old.raw"
start_server beta "$tmp/beta"
start_server alpha
wait_published beta a

# new_session_reads SERVER FILE: all of it, on a connection of its own.
new_session_reads() {
    nbdcopy "$(disk_uri "$1" a)" "$tmp/seen.raw" && cmp "$tmp/seen.raw" "$2"
}

for server in beta alpha; do
    cp "$tmp/old.raw" "$tmp/next.raw"
    mv "$tmp/next.raw" "$tmp/beta/a.raw"
    wait_until new_session_reads "$server" "$tmp/old.raw"
    open_session "$(disk_uri "$server" a)"
    expect_read 0 65536 "$tmp/old.raw"
    cp "$tmp/new.raw" "$tmp/next.raw"
    mv "$tmp/next.raw" "$tmp/beta/a.raw"
    for offset in 0 65536 1048576 4128768; do
        ask read "$offset" 65536
        [ "$answer" = EIO ] || [ "$answer_data" = "$(sha256_of "$offset" 65536 "$tmp/old.raw")" ] ||
            fail "$server gives other bytes to an open session: $answer"
    done
    wait_until new_session_reads "$server" "$tmp/new.raw"
done

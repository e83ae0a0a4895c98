#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An image shrinks under an open session: what is gone is an error, never zeros. The same through a
# relay.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
mkdir "$tmp/beta"
start_server beta "$tmp/beta"
start_server alpha
for server in beta alpha; do
    make_raw "$tmp/beta/$server.raw" 4M 1
    wait_published beta "$server"
    open_session "$(disk_uri "$server" "$server")"
    expect_read 2097152 65536 "$tmp/beta/$server.raw"
    truncate -s 1M "$tmp/beta/$server.raw"
    for offset in 0 2097152 4128768; do
        ask read "$offset" 65536
        [ "$answer" = EIO ] || fail "$server answers at $offset: $answer"
    done
    ask size
    [ "$answer_data" = 4194304 ] || fail "the size of an open disk has changed"
done

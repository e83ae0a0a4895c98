#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The file system of a writable image is full: a write that needs space gets ENOSPC, near and
# through a relay alike; what has space is still written, reads and sessions go on, and with space
# again everything is as before.
. "$(dirname "$0")/functions.sh"

requires nbdkit
mount_tmpfs "$tmp/beta" 2m
truncate -s 8M "$tmp/beta/a.raw"
start_server beta writable=true "$tmp/beta"
start_server alpha writable=true
wait_published beta a

expect() {
    local wanted=$1
    shift
    ask "$@"
    [ "$answer" = "$wanted" ] || fail "$server: $*: $answer, not $wanted"
}

for server in beta alpha; do
    open_session "$(disk_uri "$server" a)"
    expect ok write 0 65536 65
    expect ok flush
    fill_up "$tmp/beta/filler"
    expect ENOSPC write 1048576 65536 66
    expect ok write 0 65536 67
    expect ok flush
    expect ok read 0 65536
    same_bytes "$(disk_uri alpha a)" "$tmp/beta/a.raw"
    rm "$tmp/beta/filler"
    expect ok write 1048576 65536 68
    expect ok flush
    fallocate --punch-hole --offset 1048576 --length 65536 "$tmp/beta/a.raw"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One server listens on IPv4, IPv6 and a Unix socket at once, and serves the same on each. Port 0 is
# a free one, which the log names.
. "$(dirname "$0")/functions.sh"

requires nbdinfo
grep -q ' lo$' /proc/net/if_inet6 2>/dev/null || skip "no IPv6 here"
make_raw "$tmp/repository/a.raw" 4M 1
spawn_signpostd alpha --repository="$tmp/repository" --listen=127.0.0.1:0 --listen='[::1]:0' \
    --listen="unix:$tmp/alpha.sock"
for address in "nbd://127.0.0.1:$(free_port_of alpha 127.0.0.1)/a" \
    "nbd://[::1]:$(free_port_of alpha '[::1]')/a" "nbd+unix:///a?socket=$tmp/alpha.sock"; do
    same_bytes "$address" "$tmp/repository/a.raw"
done

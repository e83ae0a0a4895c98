#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A raw image below a repository is served under its disk name, byte for byte.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo
make_raw "$tmp/repository/web01/vda.raw" 8M 1
make_raw "$tmp/repository/odd.img" 8M 2
truncate -s +513 "$tmp/repository/odd.img"
start_server alpha "$tmp/repository"
same_bytes "$(disk_uri alpha web01/vda)" "$tmp/repository/web01/vda.raw"
same_bytes "$(disk_uri alpha odd)" "$tmp/repository/odd.img"
[ "$(nbdinfo --size "$(disk_uri alpha odd)")" = $((8 * 1024 * 1024 + 513)) ] || fail "size"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A plain nbdkit is registered as a foreign server: its disk is relayed by both servers.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
mkdir -p "$tmp/alpha"
make_raw "$tmp/vault/old.raw" 4M 1
start_nbdkit vault file dir="$tmp/vault"
start_server alpha "$tmp/alpha"
start_server beta
signpost servers add vault "${uri[vault]}" --foreign
same_bytes "$(disk_uri alpha old)" "$tmp/vault/old.raw"
same_bytes "$(disk_uri beta old)" "$tmp/vault/old.raw"

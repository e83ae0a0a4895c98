#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `uri` prints an address that stock clients can read the disk from: at this server when it is
# registered, whoever holds the disk, else at the holder.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo
make_raw "$tmp/beta/vm/disk.raw" 4M 1
start_server alpha
start_server beta "$tmp/beta"
wait_published beta vm/disk
[ "$(signpost uri vm/disk --server alpha)" = "${uri[alpha]}/vm/disk" ] || fail "alpha"
[ "$(SIGNPOST_SERVER=beta signpost uri vm/disk)" = "${uri[beta]}/vm/disk" ] || fail "beta"
[ "$(SIGNPOST_SERVER=gamma signpost uri vm/disk)" = "${uri[beta]}/vm/disk" ] || fail "holder"
same_bytes "$(signpost uri vm/disk --server alpha)" "$tmp/beta/vm/disk.raw"

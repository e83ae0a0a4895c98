#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Alpha relays beta's qcow2 image: the client sees the disk's bytes.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy qemu-img qemu-nbd
make_raw "$tmp/source.raw" 16M 6
mkdir "$tmp/beta"
qemu-img convert -O qcow2 "$tmp/source.raw" "$tmp/beta/db.qcow2"
start_server beta "$tmp/beta"
start_server alpha
wait_published beta db
same_bytes "$(disk_uri alpha db)" "$tmp/source.raw"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Alpha holds nothing, beta holds a raw disk: asked of alpha, it has the same bytes.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy
make_raw "$tmp/beta/web01/vda.raw" 32M 5
start_server beta "$tmp/beta"
start_server alpha
wait_published beta web01/vda
same_bytes "$(disk_uri alpha web01/vda)" "$tmp/beta/web01/vda.raw"

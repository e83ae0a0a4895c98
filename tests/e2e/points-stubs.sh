#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# While the catalog is away a bare name is the newest point that the server remembers.
. "$(dirname "$0")/stubs.inc"

requires nbdkit
make_raw "$tmp/beta/web01/vda-2026-11-19.raw" 1M 1
make_raw "$tmp/beta/web01/vda-2026-11-20.raw" 1M 2
mkdir "$tmp/catalog"
catalog=$tmp/catalog/catalog.db
start_server beta "$tmp/beta"
start_server alpha
wait_published beta web01/vda@2026-11-19
wait_published beta web01/vda@2026-11-20
wait_known alpha web01/vda@2026-11-19 web01/vda@2026-11-20

mv "$tmp/catalog" "$tmp/away"
same_bytes "$(disk_uri alpha web01/vda)" "$tmp/beta/web01/vda-2026-11-20.raw"
same_bytes "$(disk_uri beta local:web01/vda)" "$tmp/beta/web01/vda-2026-11-20.raw"
cannot_read "$(disk_uri alpha web01/vda@2026-11-18)" 2000

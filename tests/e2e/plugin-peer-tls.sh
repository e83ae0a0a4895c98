#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Beta takes clients over TLS only, with a pre-shared key. Alpha has the key and relays; gamma has
# none and gives an error, in time.
. "$(dirname "$0")/functions.sh"

requires nbdkit psktool
make_raw "$tmp/beta/a.raw" 4M 1
psktool -u fleet -p "$tmp/keys.psk" >/dev/null
start_nbdkit beta --tls=require --tls-psk="$tmp/keys.psk" "$PLUGIN" "$tmp/beta" \
    "catalog=$catalog" server=beta uri=nbds://127.0.0.1:@PORT@
start_server alpha tls=require "tls-psk=$tmp/keys.psk" tls-username=fleet
start_server gamma peer-timeout=2
wait_published beta a
open_session "$(disk_uri alpha a)"
expect_read 1048576 65536 "$tmp/beta/a.raw"
cannot_read "$(disk_uri gamma a)" 4000 # it has no key

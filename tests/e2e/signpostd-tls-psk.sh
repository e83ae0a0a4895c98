#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With --tls-psk a client that has its user's key is served; with another key, or none, it is not.
. "$(dirname "$0")/functions.sh"

requires nbdinfo nbdcopy psktool
make_raw "$tmp/repository/a.raw" 4M 1
psktool -u alice -p "$tmp/keys.psk" >/dev/null 2>&1
psktool -u alice -p "$tmp/wrong.psk" >/dev/null 2>&1
chmod 600 "$tmp"/*.psk
signpostd_options=(--tls-psk="$tmp/keys.psk" --peer-tls=off)
start_server alpha "$tmp/repository"
address=127.0.0.1:${port[alpha]}/a
same_bytes "nbds://alice@$address?tls-psk-file=$tmp/keys.psk" "$tmp/repository/a.raw"
nbdinfo "nbds://alice@$address?tls-psk-file=$tmp/wrong.psk" 2>/dev/null && fail "with a wrong key"
nbdinfo "nbd://$address" 2>/dev/null && fail "without a key"
exit 0

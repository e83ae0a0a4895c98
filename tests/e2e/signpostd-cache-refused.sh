#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A cache's directory belongs to one server, and to its user: another server's start, and a
# directory to which others may write, are refused in one line.
. "$(dirname "$0")/cache.inc"

start_gateway
refused() {
    ! "$SIGNPOSTD" --catalog="$(catalog_url)" --server=other --listen=127.0.0.1:0 "$@" \
        2>"$tmp/refused" || fail "started with $*"
    [ "$(wc -l <"$tmp/refused")" -le 2 ] || fail "more than it needs: $(cat "$tmp/refused")"
}
refused "--cache=$tmp/cache"
has "cache $tmp/cache: another process uses it" <"$tmp/refused" || fail "$(cat "$tmp/refused")"
mkdir -m 777 "$tmp/open"
refused "--cache=$tmp/open"
has 'others may write to this directory' <"$tmp/refused" || fail "$(cat "$tmp/refused")"
refused --cache-size=1G
has 'give cache.directory' <"$tmp/refused" || fail "$(cat "$tmp/refused")"
refused "--cache=$tmp/small" --cache-size=1M
has 'is not a size from 64M' <"$tmp/refused" || fail "$(cat "$tmp/refused")"

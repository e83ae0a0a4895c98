#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A checked relay with TLS on both legs: several clients at once, one of which leaves in the middle,
# get the right bytes.
. "$(dirname "$0")/pki.inc"
. "$(dirname "$0")/bit-rot.inc"

requires nbdcopy jq
make_raw "$tmp/beta/a.raw" 48M 1
make_authority "$tmp/ca"
for name in alpha beta; do
    make_certificate "$tmp/ca" "$tmp/pki-$name" server "$name.example"
    make_certificate "$tmp/ca" "$tmp/pki-$name" client "$name.example"
done
make_certificate "$tmp/ca" "$tmp/client" client vm1.example
signpostd_options=(--tls-certificates="$tmp/pki-beta" --tls=require)
start_server beta "$tmp/beta" digest-rate=1G uri=nbds://127.0.0.1:@PORT@
signpostd_options=(--tls-certificates="$tmp/pki-alpha" --tls=require)
start_server alpha verify=require uri=nbds://127.0.0.1:@PORT@
wait_until has_digest beta a
address="nbds://127.0.0.1:${port[alpha]}/a?tls-certificates=$tmp/client"

{ nbdcopy "$address" - 2>/dev/null || true; } | head -c 5M >"$tmp/begin.raw"
cmp -n 5M "$tmp/begin.raw" "$tmp/beta/a.raw" || fail "a wrong byte"
nbdcopy "$address" "$tmp/one.raw" &
one=$!
nbdcopy "$address" "$tmp/other.raw"
wait "$one"
for name in one other; do
    cmp "$tmp/beta/a.raw" "$tmp/$name.raw" || fail "a wrong byte"
done
grep -q 'not checked' "$tmp/alpha.log" && fail "not checked"
exit 0

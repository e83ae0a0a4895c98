#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With --tls-certificates a client that shows a certificate of the authority is served; one without,
# or with one of another authority, is not, nor is one that does not begin TLS.
. "$(dirname "$0")/pki.inc"

requires nbdinfo nbdcopy
make_raw "$tmp/repository/a.raw" 4M 1
make_authority "$tmp/ca"
make_authority "$tmp/other-ca"
make_certificate "$tmp/ca" "$tmp/server" server localhost
make_certificate "$tmp/ca" "$tmp/client" client backup1.example
make_certificate "$tmp/other-ca" "$tmp/stranger" client backup1.example
cp "$tmp/ca/ca-cert.pem" "$tmp/stranger/" # it trusts the server, but is not trusted
mkdir "$tmp/nobody"
cp "$tmp/ca/ca-cert.pem" "$tmp/nobody/"
signpostd_options=(--tls-certificates="$tmp/server" --peer-tls=off)
start_server alpha "$tmp/repository"
address="nbds://127.0.0.1:${port[alpha]}/a?tls-certificates=$tmp"
same_bytes "$address/client" "$tmp/repository/a.raw"
for client in nobody stranger; do
    nbdinfo --size "$address/$client" 2>"$tmp/refusal" && fail "$client is served"
done
grep -q 'TLS failed' "$tmp/alpha.log" || fail "the log does not say why"
nbdinfo --size "$(disk_uri alpha a)" 2>"$tmp/refusal" && fail "served in plaintext"
grep -qi tls "$tmp/refusal" || fail "the client is not told of TLS: $(cat "$tmp/refusal")"

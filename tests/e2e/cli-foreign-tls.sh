#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbds means TLS or nothing: with the right key or a certificate for the right host, and else not.
. "$(dirname "$0")/functions.sh"

requires nbdkit psktool certtool jq
psktool -u alice -p "$tmp/keys.psk" >/dev/null 2>&1
psktool -u alice -p "$tmp/wrong.psk" >/dev/null 2>&1
chmod 600 "$tmp"/*.psk

expect() {
    local wanted=$1 status=0
    shift
    signpost servers add vault "$@" --foreign >/dev/null 2>"$tmp/err" || status=$?
    [ "$status" = "$wanted" ] || fail "$*: status $status: $(cat "$tmp/err")"
}

start_nbdkit keyed --tls=require --tls-psk="$tmp/keys.psk" memory 1M
nbds=nbds://127.0.0.1:${port[keyed]}
expect 0 "$nbds" --tls-psk "$tmp/keys.psk" --tls-username alice
expect 4 "$nbds" --tls-psk "$tmp/wrong.psk" --tls-username alice
expect 1 "$nbds"
expect 1 "$nbds" --tls-psk "$tmp/missing.psk"
signpost servers add plain "${uri[keyed]}" --foreign 2>/dev/null && fail "read without TLS"

# A server that has no TLS is not talked to in plaintext.
start_nbdkit open memory 1M
expect 4 "nbds://127.0.0.1:${port[open]}" --tls-psk "$tmp/keys.psk" --tls-username alice

mkdir "$tmp/pki"
certtool --generate-privkey --outfile "$tmp/pki/ca-key.pem" 2>/dev/null
printf 'cn = "Test CA"\nca\ncert_signing_key\n' >"$tmp/ca.info"
certtool --generate-self-signed --load-privkey "$tmp/pki/ca-key.pem" --template "$tmp/ca.info" \
    --outfile "$tmp/pki/ca-cert.pem" 2>/dev/null
certtool --generate-privkey --outfile "$tmp/pki/server-key.pem" 2>/dev/null
printf 'cn = "localhost"\ndns_name = "localhost"\ntls_www_server\nencryption_key\nsigning_key\n' \
    >"$tmp/server.info"
certtool --generate-certificate --load-ca-certificate "$tmp/pki/ca-cert.pem" \
    --load-ca-privkey "$tmp/pki/ca-key.pem" --load-privkey "$tmp/pki/server-key.pem" \
    --template "$tmp/server.info" --outfile "$tmp/pki/server-cert.pem" 2>/dev/null
start_nbdkit certified --tls=require --tls-certificates="$tmp/pki" memory 1M
expect 0 "nbds://localhost:${port[certified]}" --tls-certificates "$tmp/pki"
expect 4 "nbds://127.0.0.1:${port[certified]}" --tls-certificates "$tmp/pki"
grep -qi certificate "$tmp/err" || fail "the certificate is not named: $(cat "$tmp/err")"

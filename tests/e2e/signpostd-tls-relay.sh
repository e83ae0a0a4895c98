#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# TLS on both legs: a client with a certificate reads through alpha a disk that beta gives only to
# servers with one.
. "$(dirname "$0")/pki.inc"

requires nbdcopy jq
make_raw "$tmp/beta/a.raw" 8M 1
make_authority "$tmp/ca"
for name in alpha beta; do
    make_certificate "$tmp/ca" "$tmp/pki-$name" server "$name.example"
    make_certificate "$tmp/ca" "$tmp/pki-$name" client "$name.example"
done
make_certificate "$tmp/ca" "$tmp/client" client vm1.example
cat >"$tmp/beta.toml" <<'TOML'
[[access]]
san = "alpha.example"
right = "read-only"
TOML
signpostd_options=(--tls-certificates="$tmp/pki-beta" --config="$tmp/beta.toml")
start_server beta "$tmp/beta" uri=nbds://127.0.0.1:@PORT@
signpostd_options=(--tls-certificates="$tmp/pki-alpha")
start_server alpha uri=nbds://127.0.0.1:@PORT@
wait_published beta a
address="127.0.0.1:%s/a?tls-certificates=$tmp/client"
# shellcheck disable=SC2059 # the format is the address
same_bytes "nbds://$(printf "$address" "${port[alpha]}")" "$tmp/beta/a.raw"
# shellcheck disable=SC2059
nbdinfo "nbds://$(printf "$address" "${port[beta]}")" 2>/dev/null && fail "beta serves a client"
exit 0

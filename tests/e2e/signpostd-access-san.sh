#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Rules by the names in a client's certificate, some of them only from some networks.
. "$(dirname "$0")/pki.inc"
. "$(dirname "$0")/access.inc"

make_raw "$tmp/repository/vm/root.raw" 1M 1
make_authority "$tmp/ca"
make_certificate "$tmp/ca" "$tmp/pki" server localhost
for name in hv1.example backup1.example away.example; do
    make_certificate "$tmp/ca" "$tmp/$name" client "$name"
done
cat >"$tmp/rules.toml" <<'TOML'
[[access]]
san = "hv*.example"
cidr = ["127.0.0.0/8", "10.0.0.0/8"]
right = "read-write"

[[access]]
dn = "*CN=backup?.example*"
right = "read-only"

[[access]]
san = "away.example"
cidr = "192.0.2.0/24"
right = "read-only"
TOML
signpostd_options=(--tls-certificates="$tmp/pki" --peer-tls=off --config="$tmp/rules.toml"
    --writable)
start_server alpha "$tmp/repository"
address() {
    echo "nbds://127.0.0.1:${port[alpha]}/$2?tls-certificates=$tmp/$1"
}
is_writable "$(address hv1.example vm/root)" || fail "hv1 may not write"
[ "$(visible "$(address backup1.example "")")" = vm/root ] || fail "backup1 sees nothing"
is_writable "$(address backup1.example vm/root)" && fail "backup1 may write"
[ "$(visible "$(address away.example "")")" = "" ] || fail "away sees a disk from another network"
denied=$(refusal "$(address away.example vm/root)")
unknown=$(refusal "$(address away.example vm/none)")
[ "$denied" = "$unknown" ] || fail "denied '$denied', unknown '$unknown'"

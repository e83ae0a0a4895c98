#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A relay tells the server that holds a disk which client asks, in a signed ticket; that server
# applies its rules to the client, not to the relay, and takes each ticket once.
. "$(dirname "$0")/pki.inc"

requires nbdcopy nbdinfo jq
make_raw "$tmp/beta/web01/vda.raw" 8M 1
make_raw "$tmp/beta/db01/vda.raw" 8M 2
make_authority "$tmp/ca"
for name in alpha beta; do
    make_certificate "$tmp/ca" "$tmp/pki-$name" server "$name.example"
    make_certificate "$tmp/ca" "$tmp/pki-$name" client "$name.example"
done
make_certificate "$tmp/ca" "$tmp/vm1" client vm1.example
make_certificate "$tmp/ca" "$tmp/vm2" client vm2.example
mkdir -p "$tmp/keys-alpha" "$tmp/keys-beta/peers"
quietly certtool --generate-privkey --key-type ed25519 --outfile "$tmp/keys-alpha/peer-key.pem"
quietly certtool --load-privkey "$tmp/keys-alpha/peer-key.pem" --pubkey-info \
    --outfile "$tmp/keys-beta/peers/alpha.pem"
cat >"$tmp/beta.toml" <<'TOML'
[[access]]
san = "vm1.example"
disk = "web*"
right = "read-only"

[[access]]
san = "alpha.example"
disk = "db*"
right = "trusted-relay"
TOML
signpostd_options=(--tls-certificates="$tmp/pki-beta" --config="$tmp/beta.toml"
    --peer-keys="$tmp/keys-beta" --audit-log="$tmp/beta.json")
start_server beta "$tmp/beta" uri=nbds://127.0.0.1:@PORT@
signpostd_options=(--tls-certificates="$tmp/pki-alpha" --peer-keys="$tmp/keys-alpha")
start_server alpha uri=nbds://127.0.0.1:@PORT@
wait_published beta web01/vda
wait_published beta db01/vda

# through_alpha CLIENT DISK
through_alpha() {
    echo "nbds://127.0.0.1:${port[alpha]}/$2?tls-certificates=$tmp/$1"
}
same_bytes "$(through_alpha vm1 web01/vda)" "$tmp/beta/web01/vda.raw"

# Neither what only another client may have, nor what only the relay itself may have; and what vm1
# has opened through the same relay is not vm2's.
open_session "$(through_alpha vm1 web01/vda)"
expect_read 0 65536 "$tmp/beta/web01/vda.raw"
for refused in vm2:web01/vda vm1:db01/vda vm2:db01/vda; do
    nbdcopy "$(through_alpha "${refused%%:*}" "${refused#*:}")" "$tmp/stolen" 2>"$tmp/why" &&
        fail "alpha serves $refused, whom beta would refuse"
done
expect_read 1048576 65536 "$tmp/beta/web01/vda.raw"

# What was signed is in beta's audit, with the client's name; a ticket is good once.
jq -es 'any(.[]; .op == "go" and .disk == "web01/vda" and .via == "alpha"
        and (.dn | test("vm1.example")))' "$tmp/beta.json" >/dev/null ||
    fail "beta's audit does not say for whom alpha asked: $(cat "$tmp/beta.json")"
[ "$(jq -r 'select(.op == "ticket").nonce' "$tmp/beta.json" | sort | uniq -d)" = "" ] ||
    fail "a ticket was shown twice"

# A relay for which nobody vouches is judged by its own name only.
signpostd_options=(--tls-certificates="$tmp/pki-alpha")
start_server gamma uri=nbds://127.0.0.1:@PORT@
port[alpha]=${port[gamma]}
nbdcopy "$(through_alpha vm1 web01/vda)" "$tmp/stolen" 2>"$tmp/why" &&
    fail "beta serves a disk of vm1's to a relay without a ticket"
same_bytes "$(through_alpha vm1 db01/vda)" "$tmp/beta/db01/vda.raw"
grep -q 'trusted relay' "$tmp/beta.log" || fail "beta's log does not name the trusted relay"

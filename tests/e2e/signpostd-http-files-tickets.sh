#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Who has signed in at one server's console is nobody at another, even where tickets say for whom a
# disk is relayed: a rule for a user of the same name there lets only its own in.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/files.inc
. "$here/files.inc"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
# shellcheck source=tests/e2e/pki.inc
. "$here/pki.inc"
requires htpasswd mkfs.ext4

make_tree "$tmp/tree"
make_ext4 "$tmp/repo/open.raw" "$tmp/tree" 32M
cp "$tmp/repo/open.raw" "$tmp/repo/closed.raw"
make_authority "$tmp/ca"
for name in alpha beta; do
    make_certificate "$tmp/ca" "$tmp/pki-$name" server localhost
    make_certificate "$tmp/ca" "$tmp/pki-$name" client "$name.example"
done
mkdir -p "$tmp/keys-alpha" "$tmp/keys-beta/peers"
quietly certtool --generate-privkey --key-type ed25519 --outfile "$tmp/keys-alpha/peer-key.pem"
quietly certtool --load-privkey "$tmp/keys-alpha/peer-key.pem" --pubkey-info \
    --outfile "$tmp/keys-beta/peers/alpha.pem"
htpasswd -Bbc -C 5 "$tmp/users" ann secret1 2>/dev/null
cat >"$tmp/beta.toml" <<'TOML'
[[access]]
user = "ann"
disk = "closed"
right = "read-only"

[[access]]
disk = "open"
right = "read-only"
TOML
signpostd_options=(--tls-certificates="$tmp/pki-beta" --config="$tmp/beta.toml"
    --peer-keys="$tmp/keys-beta" --audit-log="$tmp/beta.json")
start_server beta "$tmp/repo" uri=nbds://127.0.0.1:@PORT@
start_console alpha --tls-certificates="$tmp/pki-alpha" --peer-keys="$tmp/keys-alpha" \
    --http-users="$tmp/users"
console=https://localhost:$(grep -Eo '[0-9]+/$' <<<"$console")
wait_published beta open
wait_published beta closed
trust=(--cacert "$tmp/ca/ca-cert.pem")
api /api/v1/login "${trust[@]}" -u ann:secret1 -c "$tmp/ann" >/dev/null

cmp <(api "/api/v1/file?disk=open&path=/etc/hosts" "${trust[@]}" -b "$tmp/ann") \
    "$tmp/tree/etc/hosts"
has '"op":"go".*"address":"127.0.0.1".*"via":"alpha".*"disk":"open"' <"$tmp/beta.json" ||
    fail "beta does not know for whom: $(cat "$tmp/beta.json")"
! has '"user"' <"$tmp/beta.json" || fail "the name went to beta: $(cat "$tmp/beta.json")"
expect_status 404 "/api/v1/file?disk=closed&path=/etc/hosts" "${trust[@]}" -b "$tmp/ann"

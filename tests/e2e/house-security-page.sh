#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# signpost-security(7): its lines make certificates, with its configuration the server takes them,
# and then a client with one sees the disks, and a client without one sees nothing.
. "$(dirname "$0")/functions.sh"
. "$here/page.inc"
requires_root
requires certtool nbdinfo
if [ "${SIGNPOST_OWN_ROOT:-}" != 1 ]; then
    unshare --mount --net true 2>/dev/null || skip "namespaces are not usable here"
    rm -rf "$tmp"
    trap - EXIT
    SIGNPOST_OWN_ROOT=1 exec unshare --mount --net -- "$BASH" "$0"
fi
ip link set lo up

# The page's own paths and names, for as long as the test runs.
mkdir -p /etc/pki
for directory in /etc/pki /srv /root /run; do
    mount -t tmpfs signpost-test "$directory"
done
{ cat /etc/hosts && echo '127.0.0.1 alpha.example'; } >"$tmp/hosts"
mount --bind "$tmp/hosts" /etc/hosts
for file in passwd group; do
    { cat "/etc/$file" && echo 'signpost:x:4711:4711::/:/bin/false'; } >"$tmp/$file"
    mount --bind "$tmp/$file" "/etc/$file"
done
mkdir /run/signpost /srv/images
make_raw /srv/images/web01/vda.raw 1M

page_lines signpost-security >"$tmp/page"
"$BASH" -eu "$tmp/page" >"$tmp/page.log" 2>&1 || fail "the page stops"
[ "$(stat -c %U:%a /etc/pki/signpost/server-key.pem)" = signpost:600 ] || fail "the key's mode"

# A hypervisor's certificate, by the same lines.
sed -n '/^name=/,/^done$/p' "$tmp/page" |
    sed 's/alpha\.example/hv1.example/; s/server client/client/' >"$tmp/client"
(cd /root/signpost-ca && "$BASH" -eu "$tmp/client") >>"$tmp/page.log" 2>&1 || fail "a client's"
mkdir /etc/pki/signpost-client
cp /root/signpost-ca/hv1.example/* /etc/pki/signpost-client

page_lines signpost-security configuration >"$tmp/signpost.toml"
spawn alpha "$SIGNPOSTD" --config "$tmp/signpost.toml" --pid-file "$tmp/alpha.pid"
page_lines signpost-security client >"$tmp/clients"
[ "$(wc -l <"$tmp/clients")" = 2 ] || fail "the page has other clients"
bash -c "$(head -n 1 "$tmp/clients")" >"$tmp/out" 2>&1 || fail "a client: $(cat "$tmp/out")"
grep -q web01/vda "$tmp/out" || fail "a client with a certificate sees no disk"
! bash -c "$(tail -n 1 "$tmp/clients")" >"$tmp/out" 2>&1 || fail "a client needs no certificate"
! grep -q web01 "$tmp/out" || fail "a client without a certificate sees a disk"

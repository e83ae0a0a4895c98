#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With certificates the console is HTTPS; without, it is not served where others can listen.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
# shellcheck source=tests/e2e/pki.inc
. "$here/pki.inc"
# shellcheck source=tests/e2e/files.inc
. "$here/files.inc"
requires htpasswd mkfs.ext4

# refused WORD OPTION…: a mistake in the configuration, and the word is in what is said of it.
refused() {
    local word=$1 status=0
    shift
    "$SIGNPOSTD" --check-config "$@" 2>"$tmp/said" || status=$?
    [ "$status" = 2 ] || fail "$*: exit status $status"
    has -e "$word" <"$tmp/said" || fail "$*: $(cat "$tmp/said")"
}
refused tls-certificates --http=0.0.0.0:10880
refused tls-certificates --http=10.1.2.3:10880
refused "give http" --http-users="$tmp/users"
refused "give http" --stale-after=3d
refused "IPv6" --http=::1:80
refused "write on" --http=unix:/run/console
refused "no console" --http --stdio
"$SIGNPOSTD" --check-config --http >/dev/null
"$SIGNPOSTD" --check-config --http=:10880 --http-plain >/dev/null
SIGNPOST_HTTP=on "$SIGNPOSTD" --check-config >/dev/null

make_authority "$tmp/pki"
make_certificate "$tmp/pki" "$tmp/pki" server localhost
htpasswd -Bbc -C 5 "$tmp/users" ann secret1 2>/dev/null
make_raw "$tmp/repo/vda.raw" 1M
make_tree "$tmp/tree"
make_ext4 "$tmp/repo/files.raw" "$tmp/tree" 32M
start_console alpha --repository="$tmp/repo" --tls-certificates="$tmp/pki" \
    --tls-verify-peer=false --http-users="$tmp/users"
[[ $console == https://* ]] || fail "no HTTPS: $console"
! curl --silent "$console" >/dev/null || fail "a stranger's certificate is good enough"
console=https://localhost:$(grep -Eo '[0-9]+/$' <<<"$console")
api /api/v1/login --cacert "$tmp/pki/ca-cert.pem" -u ann:secret1 -D "$tmp/headers" >/dev/null
has -i '^set-cookie: .*; Secure' <"$tmp/headers" || fail "the cookie may go in plaintext"
api "/api/v1/file?disk=files&path=/var/lib/app/data.db" --cacert "$tmp/pki/ca-cert.pem" \
    -b "$(sed -n 's/^set-cookie: \([^;]*\).*/\1/Ip' "$tmp/headers")" -o "$tmp/got"
cmp "$tmp/got" "$tmp/tree/var/lib/app/data.db"
! curl --silent --cacert "$tmp/pki/ca-cert.pem" --tls-max 1.1 "$console" >/dev/null ||
    fail "TLS 1.1 is taken"
api /metrics --cacert "$tmp/pki/ca-cert.pem" >"$tmp/metrics"
end=$(certtool --certificate-info --infile "$tmp/pki/server-cert.pem" |
    sed -n 's/.*Not After: //p')
has "^signpost_certificate_expiry_timestamp_seconds $(date -d "$end" +%s)$" <"$tmp/metrics" ||
    fail "$(grep certificate "$tmp/metrics"), but $end"

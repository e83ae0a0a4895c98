#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --peer-tls=require and a peer that has no TLS: an error in time, and not one disk is asked for in
# plaintext.
. "$(dirname "$0")/pki.inc"

requires jq
make_raw "$tmp/beta/a.raw" 4M 1
make_authority "$tmp/ca"
make_certificate "$tmp/ca" "$tmp/pki" client alpha.example
signpostd_options=(--audit-log="$tmp/audit")
start_server beta "$tmp/beta"
signpostd_options=(--peer-tls=require --peer-tls-certificates="$tmp/pki")
start_server alpha peer-timeout=2
wait_published beta a
start=$(now_ms)
open_refused() {
    local said
    said=$("$PYTHON" -B "$here/session.py" "$(disk_uri alpha a)" <<<"read 0 4096" 2>&1) || return 0
    [[ $said != *$'\n'ok* ]]
}
open_refused || fail "read in plaintext"
took=$(($(now_ms) - start))
[ "$took" -lt 6000 ] || fail "refused after $took ms"
grep -qi tls "$tmp/alpha.log" || fail "the log does not name TLS"
stop_server beta # its audit log is complete then
jq -se 'map(select(.op == "go" or .op == "info" or .op == "list")) == []' "$tmp/audit" ||
    fail "beta was asked: $(cat "$tmp/audit")"

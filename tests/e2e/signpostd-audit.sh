#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The audit log has a JSON line for each decision: who, from where, what was asked, what was
# granted, by which rule; at the end of a session, how much was read and written. SIGUSR1 opens the
# file anew.
. "$(dirname "$0")/access.inc"

requires psktool
make_raw "$tmp/repository/a.raw" 1M 1
psktool -u alice -p "$tmp/keys.psk" >/dev/null 2>&1
chmod 600 "$tmp/keys.psk"
printf '[[access]]\npsk = "alice"\ndisk = "a"\nright = "read-write"\n' >"$tmp/rules.toml"
signpostd_options=(--tls-psk="$tmp/keys.psk" --peer-tls=off --config="$tmp/rules.toml" --writable
    --audit-log="$tmp/audit.json")
start_server alpha "$tmp/repository"
address() {
    echo "nbds://alice@127.0.0.1:${port[alpha]}/$1?tls-psk-file=$tmp/keys.psk"
}
[ "$(visible "$(address "")")" = a ] || fail "$(visible "$(address "")")"
refusal "$(address b%22%0A%7B)" >"$tmp/refused"
"$PYTHON" -B "$here/session.py" "$(address a)" >"$tmp/answers" <<'COMMANDS'
read 0 65536
write 0 4096 7
COMMANDS
# has FILTER: some line of the log is so.
has() {
    jq -es "any(.[]; $1)" "$tmp/audit.json"
}
wait_until has '.op == "close" and .export == "a" and .bytes_read > 65536
    and .bytes_written == 4096'
jq -es 'all(.[]; (.time | test("^[0-9-]{10}T[0-9:.]{12}Z$")) and .monotonic_ms > 0
    and (.op == "writer" or (.session > 0 and .address == "127.0.0.1" and .port > 0)))' \
    "$tmp/audit.json" >/dev/null || fail "who, when and where: $(cat "$tmp/audit.json")"
has '.op == "writer" and .disk == "a" and .right == "taken" and .writer == "psk alice"' ||
    fail "no writer: $(cat "$tmp/audit.json")"
has '.op == "list"' || fail "no list"
has '.op == "go" and .disk == "a" and .right == "read-write" and .psk == "alice" and .tls == 1
    and (.rule | endswith("rules.toml:1"))' || fail "no go: $(cat "$tmp/audit.json")"
has '.op == "deny" and .export == "b\"\n{" and .right == "deny"' ||
    fail "no deny: $(cat "$tmp/audit.json")"
mv "$tmp/audit.json" "$tmp/audit.old"
kill -USR1 "${pid[alpha]}"
wait_until test -e "$tmp/audit.json"
visible "$(address "")" >/dev/null
wait_until has '.op == "list"'

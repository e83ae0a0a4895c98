#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A bare name opens the newest restore point only for who may read that point itself; the audit log
# says which disk it was.
. "$(dirname "$0")/access.inc"

requires setpriv
requires_root
make_raw "$tmp/repository/web01/vda-2026-11-19.raw" 1M 1
make_raw "$tmp/repository/web01/vda-2026-11-20.raw" 1M 2
make_raw "$tmp/repository/db/vda-2026-11-20.raw" 1M 3
cat >"$tmp/rules.toml" <<'TOML'
[[access]]
uid = 0
right = "read-write"

[[access]]
uid = 65534
disk = "web01/vda@2026-11-20"
right = "deny"

[[access]]
uid = 65534
disk = ["web01/*", "db/*"]
right = "read-only"
TOML
spawn_signpostd alpha --repository="$tmp/repository" --config="$tmp/rules.toml" --writable \
    --listen="unix:$tmp/alpha.sock" --uri="nbd+unix:///?socket=$tmp/alpha.sock" \
    --audit-log="$tmp/audit.jsonl"
chmod 755 "$tmp"
chmod 666 "$tmp/alpha.sock"
address() {
    echo "nbd+unix:///$1?socket=$tmp/alpha.sock"
}
as_nobody() {
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
wait_published alpha web01/vda@2026-11-20
wait_published alpha db/vda@2026-11-20
as_nobody nbdinfo --size "$(address web01/vda@2026-11-19)" >/dev/null || fail "no older point"
as_nobody nbdinfo --size "$(address db/vda)" >/dev/null || fail "a bare name is not served"
as_nobody nbdinfo --size "$(address web01/vda)" 2>/dev/null && fail "a denied point is served"
as_nobody nbdinfo --size "$(address web01/vda-2026-11-20)" 2>/dev/null &&
    fail "a denied point is served under the path of its file"
nbdinfo --size "$(address web01/vda)" >/dev/null || fail "root may not read"
! is_writable "$(address web01/vda)" || fail "the newest point can be written by a bare name"
stop_server alpha
jq -es 'any(.[]; .op == "go" and .export == "web01/vda" and .disk == "web01/vda@2026-11-20")' \
    "$tmp/audit.jsonl" >/dev/null || fail "the audit log: $(cat "$tmp/audit.jsonl")"

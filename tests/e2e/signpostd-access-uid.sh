#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Rules by user number, as the kernel gives it for a client on a Unix socket; a client on TCP fits
# none of them.
. "$(dirname "$0")/access.inc"

requires setpriv
requires_root
make_raw "$tmp/repository/a.raw" 1M 1
make_raw "$tmp/repository/b.raw" 1M 2
cat >"$tmp/rules.toml" <<'TOML'
[[access]]
uid = 0
right = "read-write"

[[access]]
uid = 65534
disk = "b"
right = "read-only"
TOML
spawn_signpostd alpha --repository="$tmp/repository" --config="$tmp/rules.toml" --writable \
    --listen="unix:$tmp/alpha.sock" --listen=127.0.0.1:0
chmod 755 "$tmp"
chmod 666 "$tmp/alpha.sock"
address() {
    echo "nbd+unix:///$1?socket=$tmp/alpha.sock"
}
as_nobody() {
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
[ "$(visible "$(address "")")" = "a b" ] || fail "root sees $(visible "$(address "")")"
is_writable "$(address a)" || fail "root may not write"
as_nobody nbdinfo --size "$(address b)" >/dev/null || fail "b is not served to its user"
as_nobody nbdinfo --size "$(address a)" 2>/dev/null && fail "a is served to another user"
tcp=nbd://127.0.0.1:$(free_port_of alpha 127.0.0.1)
[ "$(visible "$tcp")" = "" ] || fail "a client on TCP sees $(visible "$tcp")"

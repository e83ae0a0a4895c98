#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Rules by the user of a pre-shared key and by disk: the first that fits decides what is listed,
# served and written; a disk that a client may not see is refused in the words of an unknown one.
. "$(dirname "$0")/access.inc"

requires psktool
for disk in web1/vda web2/vda db/vda; do
    make_raw "$tmp/repository/$disk.raw" 1M 1
done
for user in hypervisor backup guest; do
    psktool -u "$user" -p "$tmp/keys.psk" >/dev/null 2>&1
done
chmod 600 "$tmp/keys.psk"
cat >"$tmp/rules.toml" <<'TOML'
[[access]]
psk = "*"
disk = "*/secret"
right = "deny"

[[access]]
psk = "hypervisor"
disk = "web*"
right = "read-write"

[[access]]
psk = ["hypervisor", "backup"]
right = "read-only"
TOML
signpostd_options=(--tls-psk="$tmp/keys.psk" --peer-tls=off --config="$tmp/rules.toml" --writable)
start_server alpha "$tmp/repository"
address() {
    echo "nbds://$1@127.0.0.1:${port[alpha]}/$2?tls-psk-file=$tmp/keys.psk"
}
[ "$(visible "$(address backup "")")" = "db/vda web1/vda web2/vda" ] || fail "backup's list"
[ "$(visible "$(address guest "")")" = "" ] || fail "guest's list"
is_writable "$(address hypervisor web1/vda)" || fail "hypervisor may not write"
is_writable "$(address hypervisor db/vda)" && fail "the second rule does not hold"
is_writable "$(address backup web1/vda)" && fail "backup may write"

open_session "$(address backup web1/vda)"
ask write 0 4096 1
[ "$answer" = EPERM ] || fail "backup writes: $answer"
denied=$(refusal "$(address guest web1/vda)")
unknown=$(refusal "$(address backup nosuch)")
[ "$denied" = "$unknown" ] || fail "denied '$denied', unknown '$unknown'"
[[ $denied == *"no such disk"* ]] || fail "$denied"

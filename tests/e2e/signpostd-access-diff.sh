#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Nobody learns where a disk differs from one that he may not read; and of what may be written to,
# nothing is said to be equal.
. "$(dirname "$0")/access.inc"

requires setpriv
requires_root
make_raw "$tmp/repository/a.raw" 1M 1
make_raw "$tmp/repository/b.raw" 1M 2
cat >"$tmp/rules.toml" <<'TOML'
[[access]]
uid = 0
right = "read-only"

[[access]]
uid = 65534
disk = "b"
right = "read-only"
TOML
spawn_signpostd alpha --repository="$tmp/repository" --config="$tmp/rules.toml" \
    --listen="unix:$tmp/alpha.sock"
chmod 755 "$tmp"
chmod 666 "$tmp/alpha.sock"
# map DISK OTHER: of OTHER, which the client has, where DISK is other.
map() {
    nbdinfo --map="x-signpost:diff:$2" "nbd+unix:///$1?socket=$tmp/alpha.sock" 2>/dev/null
}
as_nobody() {
    setpriv --reuid=65534 --regid=65534 --clear-groups "$BASH" -c "$(declare -f map)
        tmp=$tmp; map $1 $2" 2>/dev/null
}
map b a | has -E '[0-9] +1( |$)' || fail "root is not told"
map b b | has -E '[0-9] +0( |$)' || fail "a disk differs from itself"
as_nobody b b >/dev/null || fail "who may read b is not told of b"
! as_nobody b a >/dev/null || fail "who may not read a is told of it"
grep -q "'b' cannot be compared with 'a'" "$tmp/alpha.log" || fail "the log does not say so"

stop_server alpha
spawn_signpostd alpha --repository="$tmp/repository" --listen="unix:$tmp/alpha.sock" --writable
! map b b >/dev/null || fail "a disk that may be written to is compared"

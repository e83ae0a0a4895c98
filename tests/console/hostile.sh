#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Names that are made to deceive are shown as what they are; nothing in them is executed, and what
# is copied is quoted.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"

export LC_ALL=C.UTF-8
names=(
    "<img src=x onerror=alert(1)>"
    "<script>alert(1)</script>"
    "\"><svg onload=alert(1)>"
    "'; touch $tmp-pwned; '"
    "\$(touch $tmp-pwned)"
    "a&lt;b&amp;'\"c"
    $'photo\u202egnp.vm'
    $'zero\u200bwidth\u2066isolate'
    $'Z\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307algo'
    "--help"
    "javascript:alert(1)"
    "$(printf 'x%.0s' {1..240})/$(printf 'y%.0s' {1..240})/$(printf 'z%.0s' {1..240})"
)
mkdir -p "$tmp/repo"
for name in "${names[@]}"; do
    make_raw "$tmp/repo/$name.raw" 64K
done
console_server alpha "$tmp/repo"
published() {
    [ "$(api /api/v1/disks | jq '.disks | length')" -ge "$((${#names[@]} - 1))" ]
}
wait_until published
browse
[ ! -e "$tmp-pwned" ] || fail "what was copied has run a command"

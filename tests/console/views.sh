#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The page by keyboard alone, on a phone, in the dark; each view has names for who cannot see it,
# and contrast for who sees badly.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"

for name in db01/vda db02/vda web01/vda web02/vda web03/vda; do
    make_raw "$tmp/alpha/$name.raw" 1M
done
make_raw "$tmp/beta/old/vda.raw" 1M
start_signpostd beta "$tmp/beta"
console_server alpha "$tmp/alpha"
wait_published alpha web03/vda
wait_published beta old/vda
kill_server beta
beta_is_down() {
    api /api/v1/servers | jq -e 'any(.reachable == false)'
}
wait_until -t 60 beta_is_down
[ "$(api / | wc -c)" -lt 60000 ] || fail "a page of 60 kB"
browse

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# When the catalog is away the page says how old what it shows is; when its server is, since when;
# and both go when they are back.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"
# shellcheck source=tests/e2e/stubs.inc
. "$here/stubs.inc"

make_raw "$tmp/alpha/own.raw" 1M
make_raw "$tmp/beta/web01/vda.raw" 1M
mkdir "$tmp/catalog"
catalog=$tmp/catalog/catalog.db
start_signpostd beta "$tmp/beta"
# The same port after a restart.
console_server alpha "$tmp/alpha" "http=127.0.0.1:$(free_port)"
wait_published alpha own
wait_published beta web01/vda
wait_known alpha own web01/vda

# The script asks for what is to happen, and waits for it.
export STEPS=$tmp
browse &
browser=$!
cleanup_fn kill "$browser"
asked_for() {
    kill -0 "$browser" 2>/dev/null || fail "the script ended before it asked for $1"
    [ -e "$tmp/$1.asked" ]
}
wait_until -t 60 asked_for catalog-away
mv "$tmp/catalog" "$tmp/catalog-away"
touch "$tmp/catalog-away.done"
wait_until -t 60 asked_for catalog-back
mv "$tmp/catalog-away" "$tmp/catalog"
touch "$tmp/catalog-back.done"
wait_until -t 60 asked_for server-away
kill_server alpha
touch "$tmp/server-away.done"
wait_until -t 60 asked_for server-back
restart_server alpha
touch "$tmp/server-back.done"
wait "$browser"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The catalog is lost, and nobody has a copy: the servers make it anew as it was, generations and
# digests included. Only what has changed meanwhile is new.
. "$(dirname "$0")/stubs.inc"

requires nbdkit
start_alike start_server
signpost verify >/dev/null
content() {
    for disk in same of-alpha of-beta; do
        signpost where "$disk" --json |
            jq -c '.locations[] | [.server, .generation, .digest, .size]'
    done
}
content >"$tmp/before"
digests_known() {
    local known='SELECT count(*) FROM location WHERE digest IS NOT NULL'
    [ "$(ask_stubs "$1" "$known")" = 4 ]
}
wait_until digests_known alpha
wait_until digests_known beta
stop_server alpha beta
rm "$catalog"*
restart_server beta
restart_server alpha
for server in alpha beta; do
    wait_published "$server" same
    wait_published "$server" "of-$server"
done
content >"$tmp/after"
diff "$tmp/before" "$tmp/after" || fail "the catalog is not what it was"

# While they run, too.
rm "$catalog"*
signpost catalog init >/dev/null
wait_until is_published alpha same
wait_until is_published beta of-beta
wait_until is_published beta same
wait_until is_published alpha of-alpha
content >"$tmp/again"
diff "$tmp/before" "$tmp/again" || fail "the catalog is not what it was"

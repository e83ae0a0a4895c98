#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGHUP: new rules hold for new sessions, an open one goes on; a file with mistakes changes
# nothing, and the log has the place of each.
. "$(dirname "$0")/functions.sh"

requires nbdinfo psktool
make_raw "$tmp/repository/a.raw" 4M 1
make_raw "$tmp/repository/b.raw" 4M 2
psktool -u alice -p "$tmp/keys.psk" >/dev/null 2>&1
chmod 600 "$tmp/keys.psk"
permit() {
    printf '[[access]]\npsk = "alice"\ndisk = "%s"\nright = "read-only"\n' "$1" >"$tmp/rules.toml"
}
permit a
signpostd_options=(--tls-psk="$tmp/keys.psk" --peer-tls=off --config="$tmp/rules.toml")
start_server alpha "$tmp/repository"
address() {
    echo "nbds://alice@127.0.0.1:${port[alpha]}/$1?tls-psk-file=$tmp/keys.psk"
}
visible() {
    nbdinfo --list --json "$(address "")" | jq -r '[.exports[]."export-name"] | join(" ")'
}
# reload PATTERN: of the line that the log gets.
reload() {
    local before
    before=$(grep -c "$1" "$tmp/alpha.log" || true)
    kill -HUP "${pid[alpha]}"
    wait_until more_than "$before" "$1"
}
more_than() {
    [ "$(grep -c "$2" "$tmp/alpha.log")" -gt "$1" ]
}
[ "$(visible)" = a ] || fail "at first: $(visible)"
open_session "$(address a)"
permit b
reload 'read again'
[ "$(visible)" = b ] || fail "after the change: $(visible)"
expect_read 0 65536 "$tmp/repository/a.raw"

printf '[[access]]\npsk = "alice"\nright = "read-mostly"\n' >"$tmp/rules.toml"
reload 'not reloaded'
grep 'not reloaded' "$tmp/alpha.log" | has 'rules.toml:3:' || fail "the place is not in the log"
[ "$(visible)" = b ] || fail "after a mistake: $(visible)"
permit a
reload 'read again'
[ "$(visible)" = a ] || fail "at last: $(visible)"

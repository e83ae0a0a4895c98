#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With access rules the console shows a person what a rule allows, and sign-in is what proves it.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
requires htpasswd

make_raw "$tmp/repo/web/vda.raw" 1M
make_raw "$tmp/repo/db/vda.raw" 1M
htpasswd -Bbc -C 5 "$tmp/users" ann secret1 2>/dev/null
htpasswd -Bb -C 5 "$tmp/users" bob secret2 2>/dev/null
cat >"$tmp/signpost.toml" <<EOF2
repository = "$tmp/repo"
uri = "nbd://127.0.0.1"
http-users = "users"
[[access]]
user = "ann"
disk = "web/*"
right = "read-only"
[[access]]
user = "bob"
right = "read-only"
EOF2
start_console alpha --config "$tmp/signpost.toml"
wait_published alpha web/vda
wait_published alpha db/vda

names() {
    api /api/v1/disks "$@" | jq -rc '[.disks[].name]'
}
[ "$(names)" = '[]' ] || fail "a stranger sees $(names)"
expect_status 404 "/api/v1/disk?name=web/vda"

expect_status 401 /api/v1/login
expect_status 401 /api/v1/login -u ann:wrong
expect_status 401 /api/v1/login -u nobody:secret1
api /api/v1/login -u ann:secret1 -c "$tmp/ann" -D "$tmp/headers" >/dev/null
has -i '^set-cookie: signpost-session=[0-9a-f]*;.*HttpOnly; SameSite=Strict' <"$tmp/headers" ||
    fail "$(cat "$tmp/headers")"
api /api/v1/login -u bob:secret2 -c "$tmp/bob" >/dev/null
[ "$(names -b "$tmp/ann")" = '["web/vda"]' ] || fail "ann sees $(names -b "$tmp/ann")"
[ "$(names -b "$tmp/bob")" = '["db/vda","web/vda"]' ] || fail "bob sees $(names -b "$tmp/bob")"
expect_status 200 "/api/v1/disk?name=web/vda" -b "$tmp/ann"
expect_status 404 "/api/v1/disk?name=db/vda" -b "$tmp/ann"
expect_status 404 "/api/v1/disk?name=nothing" -b "$tmp/ann"
api /api/v1/status -b "$tmp/ann" |
    jq -e '.user == "ann" and .sign_in and .access_rules' >/dev/null
! api /api/v1/doctor -b "$tmp/ann" | has db/vda || fail "doctor tells ann of bob's disk"

# Over NBD nobody has signed in.
! nbdinfo "nbd://127.0.0.1:$(free_port_of alpha 127.0.0.1)/web/vda" >/dev/null 2>&1 ||
    fail "a rule for the console lets an NBD client in"

# Out with the cookie, with another password, and with the line.
expect_status 200 /api/v1/logout -b "$tmp/bob"
[ "$(names -b "$tmp/bob")" = '[]' ] || fail "who has signed out sees $(names -b "$tmp/bob")"
htpasswd -Bb -C 5 "$tmp/users" ann other 2>/dev/null
[ "$(names -b "$tmp/ann")" = '[]' ] || fail "an old password still counts: $(names -b "$tmp/ann")"
[ "$(names -b "signpost-session=$(printf '0%.0s' {1..64})")" = '[]' ] || fail "a guessed cookie"

# Guessing becomes slow.
for _ in {1..12}; do
    status_of /api/v1/login -u ann:guess >/dev/null
done
expect_status 429 /api/v1/login -u ann:other

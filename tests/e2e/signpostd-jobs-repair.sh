#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `signpost repair` makes the copies that are missing, as the configuration wishes them, and
# replaces a damaged image by a good copy, which is there before the damaged one goes.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq sqlite3
mkdir -p "$tmp/alpha" "$tmp/beta" "$tmp/gamma"
make_raw "$tmp/alpha/db/a.raw" 6M 31
make_raw "$tmp/alpha/web/b.raw" 5M 32
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta" site=far
start_server gamma "$tmp/gamma"
wait_published alpha db/a
wait_published alpha web/b
cat >"$tmp/wishes.toml" <<'TOML'
[[copies]]
disks = "db/*"
copies = 2
TOML

signpost repair --config "$tmp/wishes.toml" --dry-run | has '^would copy db/a to beta'
[ -z "$(signpost jobs -H)" ] || fail "a rehearsal put a job"
signpost repair --config "$tmp/wishes.toml" >/dev/null
cmp "$tmp/alpha/db/a.raw" "$tmp/beta/db/a.raw"
! ls "$tmp/beta/web" "$tmp/gamma/db" 2>/dev/null || fail "more was copied than wished"
signpost repair --config "$tmp/wishes.toml" | has '^1 disk: as many good copies as wished'

# A bit flips; whoever scrubs finds it, and marks the copy.
cp "$tmp/beta/db/a.raw" "$tmp/damaged"
printf 'X' | dd of="$tmp/beta/db/a.raw" bs=1 seek=70000 conv=notrunc status=none
published_anew() {
    [ "$(signpost where db/a --json | jq '[.locations[] | select(.digest == null)] | length')" = 1 ]
}
wait_until published_anew
sqlite3 "$catalog" "UPDATE location SET state = 3 WHERE server_id =
    (SELECT id FROM server WHERE name = 'beta')"
signpost repair 'db/*' --copies 2 --json=lines | jq -e '.target == "beta" and .state == "done"'
cmp "$tmp/alpha/db/a.raw" "$tmp/beta/db/a.raw"
signpost info db/a --json | jq -e '.same_content == [["alpha", "beta"]]' ||
    fail "the mended copy does not back the other up"

# Where nobody can take a copy the line says so.
status=0
signpost repair web/ --copies 4 >/dev/null 2>"$tmp/refused" || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/refused")"
has '3 of 4 good copies' <"$tmp/refused"

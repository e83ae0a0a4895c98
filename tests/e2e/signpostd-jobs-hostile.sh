#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Jobs and rows that somebody has written into the catalog can do no harm: names that lead out of
# the repository, sizes that lie, a source whose bytes are not those of its digest, a move to a
# server that has other bytes. Each is refused, with one line.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq sqlite3
mkdir -p "$tmp/alpha" "$tmp/beta" "$tmp/gamma"
make_raw "$tmp/beta/good.raw" 5M 51
make_raw "$tmp/beta/lies.raw" 5M 52
make_raw "$tmp/beta/moves.raw" 5M 53
make_raw "$tmp/beta/.hidden.raw" 5M 54
make_raw "$tmp/gamma/moves.raw" 5M 55
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
start_server gamma "$tmp/gamma"
wait_published beta good
wait_published beta lies
wait_published beta moves
wait_published gamma moves
signpost verify >/dev/null || true # two copies differ

# As `signpost` would never put it.
put() { # ID KIND DISK TARGET SOURCE
    sqlite3 "$catalog" "PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE;
        INSERT INTO job (id, kind, disk, target, source, rate, state, size, done, message,
            created, updated) VALUES ('$1', $2, '$3', '$4', '$5', 0, 0, 0, 0, '', 1, 1);
        UPDATE catalog_state SET change_sequence = change_sequence + 1; COMMIT" >/dev/null
}
id_of() {
    printf '%032d' "$1"
}
failed_with() {
    signpost jobs "$1" --json | jq -e --arg text "$2" '.state == "failed" and
        (.message | test($text))'
}

put "$(id_of 1)" 0 ../../escaped alpha beta
put "$(id_of 2)" 0 /etc/passwd alpha beta
put ../../../../etc/cron.d/x 0 moves alpha beta
put "$(id_of 3)" 0 .hidden alpha beta
wait_until failed_with "$(id_of 3)" 'no repository can hold'

# The digest of another content: what comes is thrown away.
sqlite3 "$catalog" "PRAGMA busy_timeout = 5000;
    UPDATE location SET digest = (SELECT digest FROM location JOIN disk ON disk.id = disk_id
        WHERE name = 'good') WHERE disk_id = (SELECT id FROM disk WHERE name = 'lies')" >/dev/null
! signpost copy lies --to alpha >"$tmp/refused" 2>&1 || fail "copied what has another digest"
has 'not what the catalog.s digest says' <"$tmp/refused" || fail "$(cat "$tmp/refused")"

# A size that the server does not confirm, of a copy that is said to be good again.
sqlite3 "$catalog" "PRAGMA busy_timeout = 5000; UPDATE location SET size = 4611686018427387904,
    state = 0 WHERE disk_id = (SELECT id FROM disk WHERE name = 'lies')" >/dev/null
! signpost copy lies --to alpha >"$tmp/refused" 2>&1 || fail "copied 4 EiB"
has 'more than a copy may have' <"$tmp/refused" || fail "$(cat "$tmp/refused")"

# Somebody says that what gamma has is the same. It is not, and beta keeps its own.
sqlite3 "$catalog" "PRAGMA busy_timeout = 5000; UPDATE location SET (digest, generation) =
    (SELECT digest, generation FROM location JOIN server ON server.id = server_id
        JOIN disk ON disk.id = disk_id WHERE server.name = 'beta' AND disk.name = 'moves')
    WHERE disk_id = (SELECT id FROM disk WHERE name = 'moves')" >/dev/null
put "$(id_of 4)" 1 moves gamma beta
wait_until failed_with "$(id_of 4)" 'not what it says; beta keeps its image'
[ -f "$tmp/beta/moves.raw" ] || fail "beta has removed the only image"

signpost copy good --to alpha >/dev/null
cmp "$tmp/beta/good.raw" "$tmp/alpha/good.raw"
[ "$(find "$tmp/alpha" -type f)" = "$tmp/alpha/good.raw" ] ||
    fail "alpha has more: $(find "$tmp/alpha" -type f)"
! ls "$tmp/escaped.raw" "${tmp%/*}/escaped.raw" 2>/dev/null || fail "a name led out"

#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that is killed while it computes digests goes on where it was, and reads no chunk of a
# finished run again.
. "$(dirname "$0")/functions.sh"
. "$(dirname "$0")/bit-rot.inc"

requires jq "$PYTHON"
mkdir "$tmp/repo"
truncate -s 600M "$tmp/repo/vda.raw"
for chunk in 0 20 70 100 140; do
    dd if=/dev/urandom of="$tmp/repo/vda.raw" bs=4M count=1 seek=$chunk conv=notrunc status=none
done
start_server alpha "$tmp/repo" digest-rate=8M
chunks_done() {
    [ "$("$PYTHON" - "$STATE_DIRECTORY/alpha/digests.db" <<'PYTHON'
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT done FROM image").fetchone()[0])
PYTHON
    )" -ge "$1" ]
}
wait_until chunks_done 64
kill_server alpha
! has_digest alpha vda || fail "done too early for this test"
restart_server alpha
wait_until has_digest alpha vda
grep -Eq '(64|128) chunks of it were hashed before' "$tmp/alpha.log" || fail "begun anew"
signpost verify vda >"$tmp/out" || fail "another digest: $(cat "$tmp/out")"

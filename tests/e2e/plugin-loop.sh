#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog that sends alpha to beta and beta to alpha, for a disk that neither has: an error at
# once from both, no connection between them left, and both go on serving.
. "$(dirname "$0")/functions.sh"

requires nbdkit sqlite3 jq nbdcopy
make_raw "$tmp/beta/real.raw" 1M
start_server alpha
start_server beta "$tmp/beta"
wait_published beta real
sqlite3 -cmd '.timeout 5000' "$catalog" <<'END'
BEGIN IMMEDIATE;
CREATE TEMP TABLE copied AS SELECT * FROM location;
UPDATE copied SET server_id = (SELECT id FROM server WHERE name = 'alpha');
INSERT INTO location SELECT * FROM copied;
UPDATE disk SET name = 'loop' WHERE name = 'real';
COMMIT;
END
for server in alpha beta; do
    cannot_read "$(disk_uri "$server" loop)" 1500
done
open_session "$(disk_uri beta real)"
expect_read 0 65536 "$tmp/beta/real.raw"
